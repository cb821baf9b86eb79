//! A server on the loopback interface that answers as it is told, and kubeconfigs that lead to it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver as Messages},
    },
    thread,
};

use serde_json::{Value, json};

/// A request: its first line, its headers in small letters, its body.
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) asked: Messages<Asked>,
}

impl Server {
    /// Answers each request with what `answer` gives for its number: status line and headers, then the body; one request a connection.
    /// Lasts as long as the test.
    pub(super) fn start(answer: impl Fn(u32, &Asked) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = mpsc::channel();
        let (count, answer) = (Arc::new(AtomicU32::new(0)), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, answer, tell) = (Arc::clone(&count), Arc::clone(&answer), tell.clone());
                thread::spawn(move || {
                    let Some(asked) = read(&stream) else { return };
                    let answer = answer(count.fetch_add(1, Ordering::Relaxed), &asked);
                    // A test that is over is not told.
                    let _over = tell.send(asked);
                    if answer.is_empty() {
                        let _gone = (&stream).read(&mut [0]);
                    }
                    let _gone = (&stream).write_all(answer.as_bytes());
                });
            }
        });
        Self { address, asked }
    }
}

/// An answer without a body.
pub(super) fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|size| *size > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<_> = lines[1..].iter().map(|line| line.to_lowercase()).collect();
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { line: lines[0].clone(), headers, body: String::from_utf8(body).ok()? })
}

/// A folder with a kubeconfig, removed at the end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = env::temp_dir().join(format!("kubewitness-webhook-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Writes a kubeconfig that names this server and this user.
    pub(super) fn kubeconfig(&self, server: &str, user: &Value) -> PathBuf {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        let path = self.0.join("kubeconfig");
        fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = fs::remove_dir_all(&self.0);
    }
}
