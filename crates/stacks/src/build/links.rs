//! Links that lead out of a source: what they lead to is packaged in their place, as there is
//! nothing but the package where the function runs.

use std::path::{Path, PathBuf};

use super::cache::Key;
use super::{Build, Package, Source};
use crate::error::Error;

/// A link of a source, and where outside of the source it leads.
struct Link {
    path: PathBuf,
    leads: PathBuf,
}

impl Build<'_> {
    /// The package with links out of its sources followed.
    pub(super) async fn with_links(&self, package: Package) -> Result<Package, Error> {
        let mut sources = Vec::new();
        for own in package.sources {
            // What builds have made holds no such links.
            if own.folder.starts_with(&self.host.cache) {
                sources.push(own);
                continue;
            }
            let source = own.clone();
            let links = self.off_thread(move || links(&source)).await?;
            if !links.is_empty() {
                sources.push(Source::built(self.followed(&links).await?));
            }
            sources.push(links.iter().fold(own, |own, link| {
                own.without(&format!("/{}", link.path.display()))
            }));
        }
        Ok(Package { sources })
    }

    async fn followed(&self, links: &[Link]) -> Result<PathBuf, Error> {
        let mut key = Key::new("links");
        for link in links {
            key = key.add(&link.path.to_string_lossy());
            key = if link.leads.is_dir() {
                self.digest(key, &Package::of(Source::of(&link.leads)?))
                    .await?
            } else {
                key.file(&link.leads)?
            };
        }
        let key = key.finish();
        if let Some(ready) = self.cache.ready("links", &key) {
            return Ok(ready);
        }
        let stage = self.cache.stage("links", &key)?;
        for link in links {
            let copy = stage.path().join(&link.path);
            if link.leads.is_dir() {
                self.copy(&Package::of(Source::of(&link.leads)?), &copy)
                    .await?;
            } else {
                let parent = copy.parent().unwrap_or(stage.path());
                std::fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
                std::fs::copy(&link.leads, &copy).map_err(Error::io("copy", &link.leads))?;
            }
        }
        stage.keep()
    }
}

fn links(own: &Source) -> Result<Vec<Link>, Error> {
    let folder = own.folder.canonicalize();
    let folder = folder.map_err(Error::io("open", &own.folder))?;
    let files = Package::of(own.clone()).files()?;
    let links = files.into_iter().filter(|file| file.link);
    // One that leads nowhere stays, to be told of where the package is stored.
    let links = links.filter_map(|file| {
        let leads = file.from.canonicalize().ok()?;
        let outside = !leads.starts_with(&folder) && !folder.starts_with(&leads);
        (outside && (leads.is_dir() || leads.is_file())).then_some(Link {
            path: file.path,
            leads,
        })
    });
    Ok(links.collect())
}

/// The folders that links of a source lead to, outside of it.
pub(crate) fn linked_folders(source: &Path) -> Vec<PathBuf> {
    let own = Source::of(source).map(|own| own.without("node_modules/"));
    let links = own.and_then(|own| links(&own)).unwrap_or_default();
    let folders = links.into_iter().filter_map(|link| {
        let file = link.leads.is_file();
        match file {
            true => link.leads.parent().map(Path::to_owned),
            false => Some(link.leads),
        }
    });
    folders.collect()
}
