//! Which functions a project's development sessions have deployed, over restarts: only these may
//! a session remove. What was made by other means, or for another project, is not its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use model::{FunctionId, arn};
use serde::{Deserialize, Serialize};
use store::{Error, Expect, Op, Record, Store, Transaction};

/// Functions by their ARNs.
const COLLECTION: &str = "dev_functions";
/// Records read at once.
const PAGE: usize = 500;

/// The functions of one project.
#[derive(Debug)]
pub(super) struct Owned {
    store: Arc<dyn Store>,
    project: String,
    functions: BTreeSet<FunctionId>,
}

/// Whose a function is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OwnedRecord {
    id: FunctionId,
    /// The project's folder.
    project: String,
}

impl Owned {
    /// What earlier sessions of the project in this folder have deployed.
    pub(super) async fn load(store: Arc<dyn Store>, folder: &Path) -> Result<Self, Error> {
        let mut owned = Self {
            store,
            project: folder.to_string_lossy().into_owned(),
            functions: BTreeSet::new(),
        };
        let mut after = None;
        loop {
            let page = owned
                .store
                .list(COLLECTION, "", after.as_deref(), PAGE)
                .await?;
            for record in &page {
                let found = read(record)?;
                if found.project == owned.project {
                    owned.functions.insert(found.id);
                }
            }
            match page.into_iter().last() {
                Some(last) => after = Some(last.key),
                None => return Ok(owned),
            }
        }
    }

    /// Those that a project of these names has no longer.
    pub(super) fn strangers(&self, has: impl Fn(&FunctionId) -> bool) -> Vec<FunctionId> {
        let strangers = self.functions.iter().filter(|id| !has(id));
        strangers.cloned().collect()
    }

    /// Whether this project has deployed a function.
    pub(super) fn has(&self, id: &FunctionId) -> bool {
        self.functions.contains(id)
    }

    /// Keeps that this project has deployed a function.
    pub(super) async fn add(&mut self, id: &FunctionId) -> Result<(), Error> {
        if self.functions.contains(id) {
            return Ok(());
        }
        let key = arn::function(id);
        let value = OwnedRecord {
            id: id.clone(),
            project: self.project.clone(),
        };
        let value = serde_json::to_vec(&value).map_err(|error| damaged(&key, &error))?;
        let put = Op::Put {
            collection: COLLECTION,
            key,
            value: value.into(),
            expect: Expect::Any,
        };
        self.store.commit(Transaction::of(put)).await?;
        self.functions.insert(id.clone());
        Ok(())
    }

    /// Forgets a function that was removed.
    pub(super) async fn forget(&mut self, id: &FunctionId) -> Result<(), Error> {
        let delete = Op::Delete {
            collection: COLLECTION,
            key: arn::function(id),
            expect: Expect::Any,
        };
        self.store.commit(Transaction::of(delete)).await?;
        self.functions.remove(id);
        Ok(())
    }
}

fn read(record: &Record) -> Result<OwnedRecord, Error> {
    serde_json::from_slice(&record.value).map_err(|error| damaged(&record.key, &error))
}

fn damaged(key: &str, error: &serde_json::Error) -> Error {
    Error::Damaged {
        what: format!("{COLLECTION}/{key}"),
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> FunctionId {
        FunctionId {
            account: "000000000000".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn the_stored_form_stays() {
        let record = OwnedRecord {
            id: id("f"),
            project: "/p".into(),
        };
        let text =
            r#"{"id":{"account":"000000000000","region":"us-east-1","name":"f"},"project":"/p"}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        let record_of = |text: &str| Record {
            key: "k".into(),
            value: text.to_owned().into(),
            revision: 1,
        };
        assert_eq!(read(&record_of(text)).unwrap(), record);
        assert!(matches!(read(&record_of("{}")), Err(Error::Damaged { .. })));
    }

    #[tokio::test]
    async fn a_project_owns_what_it_deployed_and_nothing_else() {
        let store: Arc<dyn Store> = Arc::new(store::Memory::new());
        let load = |folder: &'static str| Owned::load(Arc::clone(&store), Path::new(folder));
        let mut one = load("/one").await.unwrap();
        one.add(&id("a")).await.unwrap();
        one.add(&id("b")).await.unwrap();
        load("/two").await.unwrap().add(&id("c")).await.unwrap();
        let mut one = load("/one").await.unwrap();
        assert_eq!(one.strangers(|_| false), vec![id("a"), id("b")]);
        assert_eq!(one.strangers(|id| id.name.as_str() == "a"), vec![id("b")]);
        one.forget(&id("b")).await.unwrap();
        assert_eq!(
            load("/one").await.unwrap().strangers(|_| false),
            vec![id("a")]
        );
    }
}
