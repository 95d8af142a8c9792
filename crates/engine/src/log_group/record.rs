//! How log groups and their streams are stored, and the keys they are found by.

use std::collections::BTreeMap;

use model::{LogGroupId, LogStreamName};
use serde::{Deserialize, Serialize};
use store::{Expect, Op, Store};

use crate::Error;
use crate::record::{read, write};

/// Groups, by account, region and name.
pub(super) const GROUPS: &str = "log_groups";
/// Streams that were made by name, or removed.
pub(super) const STREAMS: &str = "log_streams";

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupRecord {
    pub(super) id: LogGroupId,
    /// Lines of functions that came earlier are not its.
    pub(super) created_ms: u64,
    /// Whether it is there because a function logged and nobody has said anything of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) automatic: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retention_days: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) protected: bool,
    /// Settings of the vendor's that nothing here reads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) kept: BTreeMap<String, String>,
    /// Records of streams.
    #[serde(default)]
    pub(super) streams: u64,
}

impl GroupRecord {
    pub(super) fn new(id: LogGroupId, created_ms: u64) -> Self {
        Self {
            id,
            created_ms,
            automatic: false,
            retention_days: None,
            tags: BTreeMap::new(),
            protected: false,
            kept: BTreeMap::new(),
            streams: 0,
        }
    }
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StreamRecord {
    pub(super) name: LogStreamName,
    pub(super) created_ms: u64,
    /// Events of this name that stand before this position in what was put into the group are of an
    /// earlier stream.
    #[serde(default)]
    pub(super) from: u64,
    /// Lines of an instance that came before this time are of an earlier stream, too.
    #[serde(default)]
    pub(super) hides_ms: u64,
    /// Whether it was removed: it is there again once the instance logs, or somebody makes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
}

/// The log that holds what clients put into a group. No function's has such a name: accounts are
/// digits.
pub(super) fn put_key(id: &LogGroupId) -> String {
    format!("groups/{}", group_key(id))
}

pub(super) fn group_key(id: &LogGroupId) -> String {
    format!("{}/{}/{}", id.account, id.region, id.name)
}

/// What the keys of a group's streams begin with; no name of a group holds a colon.
pub(super) fn stream_prefix(id: &LogGroupId) -> String {
    format!("{}:", group_key(id))
}

pub(super) fn stream_key(id: &LogGroupId, stream: &str) -> String {
    format!("{}{stream}", stream_prefix(id))
}

/// A group, with the store's revision of it.
pub(super) async fn find(
    store: &dyn Store,
    id: &LogGroupId,
) -> Result<Option<(GroupRecord, u64)>, Error> {
    let Some(stored) = store.get(GROUPS, &group_key(id)).await? else {
        return Ok(None);
    };
    Ok(Some((read(&stored.key, &stored.value)?, stored.revision)))
}

pub(super) fn put_group(group: &GroupRecord, expect: Expect) -> Result<Op, Error> {
    let key = group_key(&group.id);
    Ok(Op::Put {
        collection: GROUPS,
        value: write(&key, group)?,
        key,
        expect,
    })
}

pub(super) fn put_stream(
    id: &LogGroupId,
    stream: &StreamRecord,
    expect: Expect,
) -> Result<Op, Error> {
    let key = stream_key(id, stream.name.as_str());
    Ok(Op::Put {
        collection: STREAMS,
        value: write(&key, stream)?,
        key,
        expect,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn id() -> LogGroupId {
        LogGroupId {
            account: "000000000000".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            name: "/aws/lambda/hello".parse().unwrap(),
        }
    }

    #[test]
    fn the_stored_forms() {
        let group = GroupRecord {
            automatic: true,
            retention_days: Some(7),
            tags: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
            protected: true,
            kept: BTreeMap::from([("class".to_owned(), "STANDARD".to_owned())]),
            streams: 2,
            ..GroupRecord::new(id(), 1_767_225_600_000)
        };
        let stored = write("key", &group).unwrap();
        expect![[r#"{"id":{"account":"000000000000","region":"eu-west-1","name":"/aws/lambda/hello"},"created_ms":1767225600000,"automatic":true,"retention_days":7,"tags":{"team":"blue"},"protected":true,"kept":{"class":"STANDARD"},"streams":2}"#]].assert_eq(&String::from_utf8_lossy(&stored));
        assert_eq!(read::<GroupRecord>("key", &stored).unwrap(), group);
        let stream = StreamRecord {
            name: "2026/01/01/[$LATEST]abc".parse().unwrap(),
            created_ms: 1_767_225_600_000,
            from: 7,
            hides_ms: 1_767_225_600_000,
            removed: true,
        };
        let stored = write("key", &stream).unwrap();
        expect![[r#"{"name":"2026/01/01/[$LATEST]abc","created_ms":1767225600000,"from":7,"hides_ms":1767225600000,"removed":true}"#]].assert_eq(&String::from_utf8_lossy(&stored));
        assert_eq!(read::<StreamRecord>("key", &stored).unwrap(), stream);
    }

    #[test]
    fn keys_tell_groups_and_streams_apart() {
        assert_eq!(
            stream_key(&id(), "a"),
            "000000000000/eu-west-1//aws/lambda/hello:a"
        );
        assert!(put_key(&id()).starts_with("groups/000000000000/"));
    }
}
