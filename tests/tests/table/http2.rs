//! Several requests on one HTTP/2 connection, which kubelets up to 1.35 speak.

use std::io;
use std::sync::Arc;

use ::http::Request;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::Kubelet;

/// Streams that are open at once: fewer than a kubelet allows.
const BATCH: usize = 100;

/// The statuses of the responses, in order; `None` if the kubelet does not speak HTTP/2.
pub(crate) fn send(kubelet: &Kubelet, requests: Vec<Request<()>>) -> io::Result<Option<Vec<u16>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(converse(kubelet, requests))
}

async fn converse(kubelet: &Kubelet, requests: Vec<Request<()>>) -> io::Result<Option<Vec<u16>>> {
    let mut config = (*kubelet.tls).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = kubelet.connect()?;
    stream.set_nonblocking(true)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(kubelet.name(), TcpStream::from_std(stream)?).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Ok(None);
    }
    let (mut client, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let mut statuses = Vec::new();
    for batch in requests.chunks(BATCH) {
        let mut pending = Vec::new();
        // All at once: on one connection they run side by side.
        for request in batch {
            client = client.ready().await.map_err(io::Error::other)?;
            pending.push(client.send_request(request.clone(), true).map_err(io::Error::other)?.0);
        }
        for response in pending {
            let mut response = response.await.map_err(io::Error::other)?;
            statuses.push(response.status().as_u16());
            while let Some(data) = response.body_mut().data().await {
                let data = data.map_err(io::Error::other)?;
                response.body_mut().flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
            }
        }
    }
    drop(client);
    connection.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
    Ok(Some(statuses))
}
