//! Takes code that comes as an archive.

use std::sync::Arc;

use bytes::Bytes;
use model::{Archive, Code, limit};

use crate::{Error, Shared};

impl Shared {
    /// Unpacks an archive into the trees. What no function comes to name is swept away one day.
    pub(crate) async fn unpack(&self, zip: Bytes) -> Result<Code, Error> {
        let trees = Arc::clone(&self.trees);
        let size_bytes = zip.len() as u64;
        let put = move || trees.put_zip(&zip, Archive::FILE, limit::UNPACKED_BYTES_MAX);
        let unpacked = self.block("unpack an archive", put).await;
        let unpacked = unpacked.map_err(|error| match error {
            store::Error::BadArchive(problem) => Error::BadArchive(problem),
            other => Error::Store(other),
        })?;
        let digest = |text: &str| {
            text.parse().map_err(|_| Error::UnknownForm {
                key: text.to_owned(),
                detail: "it is no digest".to_owned(),
            })
        };
        Ok(Code {
            digest: digest(&unpacked.code.digest)?,
            size_bytes: unpacked.code.size_bytes,
            archive: Some(Archive {
                sha256: digest(&unpacked.sha256)?,
                size_bytes,
                tree: digest(&unpacked.archive.digest)?,
            }),
            layer: None,
        })
    }

    /// The archive that code came as, if it did.
    pub(crate) async fn archive(&self, code: &Code) -> Result<Option<Bytes>, Error> {
        let Some(archive) = &code.archive else {
            return Ok(None);
        };
        let (trees, tree) = (Arc::clone(&self.trees), archive.tree.to_string());
        let read = move || trees.read(&tree, Archive::FILE);
        let bytes = self.block("read an archive", read).await?;
        Ok(Some(bytes.into()))
    }
}
