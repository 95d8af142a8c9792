//! Takes code that comes as an archive, and gives code back as one.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{Archive, Code, limit};
use tokio::sync::OwnedSemaphorePermit;

use crate::{Error, Shared};

/// Archives of folders that are there at once (ours): each is a file of up to a quarter of a gigabyte
/// until it was read.
pub(crate) const PACKED_MAX: usize = 8;
/// Of them, those that are made at the same time (ours): each takes a processor that functions need.
pub(crate) const PACKING_MAX: usize = 2;
/// How long one waits for another of them to go (ours: shorter than clients wait).
const PACKED_WAIT: Duration = Duration::from_secs(20);

/// Code as a zip archive.
#[derive(Debug)]
pub struct Packed {
    /// To be read from its beginning.
    pub file: File,
    /// How much there is to read, in bytes.
    pub size_bytes: u64,
    /// A place among those that were made for whoever asked, for as long as the file is there.
    _place: Option<OwnedSemaphorePermit>,
}

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

    /// Code as the archive that it came as, else as one that is made of its folder now.
    pub(crate) async fn packed(&self, code: &Code) -> Result<Packed, Error> {
        let trees = Arc::clone(&self.trees);
        let Some(archive) = &code.archive else {
            let place = Arc::clone(&self.packs).acquire_owned();
            let place = tokio::select! {
                // Never closed.
                place = place => place.ok(),
                () = self.clock.sleep(PACKED_WAIT) => {
                    return Err(Error::NoRoom { doing: "pack archives" });
                }
            };
            // Never closed; those before it take some seconds each, and are few.
            let turn = Arc::clone(&self.packing).acquire_owned().await.ok();
            let tree = code.digest.to_string();
            let pack = move || {
                let _turn = turn;
                sized(trees.pack(&tree)?, place)
            };
            return Ok(self.block("pack code", pack).await?);
        };
        let tree = archive.tree.to_string();
        let open = move || sized(trees.open_file(&tree, Archive::FILE)?, None);
        Ok(self.block("open an archive", open).await?)
    }
}

fn sized(file: File, place: Option<OwnedSemaphorePermit>) -> Result<Packed, store::Error> {
    let found = file.metadata().map_err(|error| store::Error::Damaged {
        what: "an archive of code".to_owned(),
        detail: error.to_string(),
    })?;
    Ok(Packed {
        file,
        size_bytes: found.len(),
        _place: place,
    })
}
