//! A kubelet's page of metrics, asked for with the credentials for the API server.

use std::future::poll_fn;
use std::pin::Pin;

use hyper::body::Body as _;
use hyper::{Request, StatusCode};
use kube::client::Body;
use thiserror::Error;

use super::connect::{ConnectError, Connection, Elsewhere};
use super::discreet::without_secrets;

/// Bytes of a page of metrics, at most: a node with 500 pods gives some 300 KB.
const PAGE: usize = 16 << 20;

/// Why there is no page.
#[derive(Debug, Error)]
pub enum PageError {
    /// The credentials, or who vouches for the kubelet.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer.
    #[error("it cannot be reached: {0}; check --kubelet-url, and who vouches for its certificate (--kubelet-certificate-authority)")]
    Unreachable(String),
    /// 401 or 403.
    #[error("it does not let the agent in ({0}): bind a ClusterRole with get on nodes/metrics")]
    Refused(StatusCode),
    /// Another status than 200.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// Something else than text, or too much of it.
    #[error("its answer is not a kubelet's page of metrics; see --kubelet-url")]
    Garbled,
}

impl Connection {
    /// `GET /metrics`. How long it may take is for the caller to limit.
    pub async fn kubelet_metrics(&self, kubelet: &Elsewhere) -> Result<String, PageError> {
        let client = self.client_elsewhere(kubelet).await?;
        let request = Request::get("/metrics").body(Body::empty()).map_err(|error| PageError::Unreachable(error.to_string()))?;
        let response = client.send(request).await.map_err(|error| PageError::Unreachable(without_secrets(&error)))?;
        match response.status() {
            StatusCode::OK => text(response.into_body()).await,
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(PageError::Refused(status)),
            status => Err(PageError::Status(status)),
        }
    }
}

/// The text of a page that is not too long.
async fn text(mut body: Body) -> Result<String, PageError> {
    let mut page = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| PageError::Unreachable(without_secrets(&error)))?;
        page.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if page.len() > PAGE {
            return Err(PageError::Garbled);
        }
    }
    String::from_utf8(page).map_err(|_| PageError::Garbled)
}
