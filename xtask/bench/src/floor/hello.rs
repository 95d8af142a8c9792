//! A bare hyper hello.

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

pub(super) async fn serve() -> Result<()> {
    let listener = super::announce().await?;
    super::serve(listener, |_| async {
        Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
    })
    .await
}
