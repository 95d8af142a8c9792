//! `make build-NAME`: the build method of SAM for everything that has no other.

use std::path::Path;

use super::cache::Key;
use super::tool::{self, Tool};
use super::{Build, Package, Source};
use crate::error::Error;

impl Build<'_> {
    pub(super) async fn make(&mut self, source: &Path, target: &str) -> Result<Package, Error> {
        let own = Package::of(Source::of(source)?);
        let key = self
            .digest(Key::new("make").add(target), &own)
            .await?
            .finish();
        if let Some(ready) = self.cache.ready("make", &key) {
            return Ok(Package::of(Source::built(ready)));
        }
        let make = tool::find("make")
            .ok_or_else(|| self.missing("make", "install it with your distribution's packages"))?;
        let stage = self.cache.stage("make", &key)?;
        // The rule gets a copy to work in, as SAM gives it: it may write beside its sources.
        let (work, artifacts) = (stage.path().join("source"), stage.path().join("artifacts"));
        self.copy(&own, &work).await?;
        std::fs::create_dir_all(&artifacts).map_err(Error::io("make", &artifacts))?;
        self.progress.phase(&format!("make build-{target}"));
        let run = Tool::new(&make, &work)
            .args([format!("build-{target}")])
            .env("ARTIFACTS_DIR", &artifacts)
            .advice("mend the rule in the Makefile; it copies what is to be deployed into $(ARTIFACTS_DIR)");
        self.run(run).await?;
        let result = self.cache.stage("make", &key)?;
        self.copy(&Package::of(Source::built(artifacts)), result.path())
            .await?;
        Ok(Package::of(Source::built(result.keep()?)))
    }
}
