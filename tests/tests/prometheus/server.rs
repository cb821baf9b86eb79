//! A server on the loopback interface that answers as it is told.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What it does with a request.
pub(crate) enum Deed {
    /// Status line and headers without the length, and the body.
    Answer(&'static str, String),
    /// The beginning of an answer, then the end of the connection.
    Cut(&'static str),
    /// Nothing, until the client is gone.
    Hang,
    /// A body of any length, written bit by bit.
    Stream(fn(&mut dyn std::io::Write) -> std::io::Result<()>),
}

/// A request: method, path and query, body.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: String,
}

pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(deed: impl Fn(&Asked, usize) -> Deed + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop, deed) = (Arc::clone(&asked), Arc::clone(&stopped), Arc::new(deed));
        thread::spawn(move || {
            for stream in listener.incoming().flatten().take_while(|_| !stop.load(Ordering::Relaxed)) {
                let (count, deed) = (Arc::clone(&count), Arc::clone(&deed));
                // A client that is gone is none of its business.
                thread::spawn(move || attend(&stream, &count, &*deed).unwrap_or_default());
            }
        });
        Self { address, asked, stopped }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests there were.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(self.address);
    }
}

/// One request on each connection.
fn attend(mut stream: &TcpStream, count: &AtomicUsize, deed: &dyn Fn(&Asked, usize) -> Deed) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = Asked { method, target, body: String::from_utf8_lossy(&body).into_owned() };
    match deed(&asked, count.fetch_add(1, Ordering::Relaxed)) {
        Deed::Answer(head, body) => {
            write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        }
        Deed::Cut(body) => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{body}"),
        Deed::Hang => {
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.read(&mut [0]).map(|_| ())
        }
        Deed::Stream(write) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            let mut buffered = std::io::BufWriter::new(stream);
            write(&mut buffered)?;
            buffered.flush()
        }
    }
}
