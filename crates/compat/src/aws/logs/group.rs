//! Log groups: making, listing and removing them, their retention and their tags.

use std::collections::BTreeMap;

use engine::log_group::{Creation, GroupQuery, GroupView};
use model::{LogGroupId, LogGroupName};

use super::error::{Refusal, kind};
use super::shapes::choice::LogGroupClass;
use super::shapes::*;
use super::{Ask, integer, long};
use crate::aws::Aws;

/// Groups on a page where the caller asks for no number, and at most (service model).
const PAGE: usize = 50;

/// What no name of a group made by its owner begins with, in any case (recorded from the service).
const RESERVED: &str = "AWS/";

/// Names of the settings that are kept as they were given; of the second there were some once.
const CLASS: &str = "class";
const KMS_KEY: &str = "kmsKeyId";

impl Aws {
    pub(super) async fn create_log_group(
        &self,
        ask: &Ask<'_>,
        request: CreateLogGroupRequest,
    ) -> Result<(), Refusal> {
        let group = ask.group(&request.log_group_name)?;
        let name = group.name.as_str();
        if name
            .get(..RESERVED.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
        {
            let message = format!("Log groups starting with {RESERVED} are reserved for AWS.");
            return Err(Refusal::invalid(message));
        }
        if let Some(key) = &request.kms_key_id {
            return Err(no_key(key, &group));
        }
        let class = request.log_group_class.as_ref();
        let kept = class.map(|class| (CLASS.to_owned(), class.as_str().to_owned()));
        let creation = Creation {
            tags: request.tags.unwrap_or_default(),
            protected: request.deletion_protection_enabled == Some(true),
            kept: kept.into_iter().collect(),
        };
        let who = ask.caller.identity.principal();
        let log_groups = self.engine.log_groups();
        let made = log_groups.create(&who, &group, creation).await;
        made.map_err(|error| ask.refusal(&error))
    }

    pub(super) async fn delete_log_group(
        &self,
        ask: &Ask<'_>,
        request: DeleteLogGroupRequest,
    ) -> Result<(), Refusal> {
        let group = ask.group(&request.log_group_name)?;
        let who = ask.caller.identity.principal();
        let log_groups = self.engine.log_groups();
        let removed = log_groups.remove(&who, &group).await;
        removed.map_err(|error| ask.refusal(&error))
    }

    pub(super) async fn describe_log_groups(
        &self,
        ask: &Ask<'_>,
        request: DescribeLogGroupsRequest,
    ) -> Result<DescribeLogGroupsResponse, Refusal> {
        let prefix = request.log_group_name_prefix.unwrap_or_default();
        let part = request.log_group_name_pattern.unwrap_or_default();
        if !prefix.is_empty() && !part.is_empty() {
            return Err(Refusal::invalid(
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
            ));
        }
        if let Some(identifiers) = &request.log_group_identifiers {
            return self.describe_these(ask, identifiers).await;
        }
        let limit = request
            .limit
            .map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(1));
        // The service's own token is the name of the last group.
        if let Some(token) = &request.next_token
            && token.parse::<LogGroupName>().is_err()
        {
            return Err(Refusal::no_token());
        }
        let query = GroupQuery {
            prefix,
            part,
            after: request.next_token,
            limit: limit + 1,
        };
        let (account, region) = (&ask.caller.account, &ask.caller.region);
        let log_groups = self.engine.log_groups();
        let groups = log_groups.list(account, region, &query).await;
        let mut groups = groups.map_err(|error| ask.refusal(&error))?;
        let more = groups.len() > limit;
        groups.truncate(limit);
        let last = groups.last().map(|group| group.id.name.to_string());
        let wanted = request.log_group_class.as_ref();
        let shown = groups.iter().map(show);
        let shown = shown.filter(|it| wanted.is_none() || it.log_group_class.as_ref() == wanted);
        Ok(DescribeLogGroupsResponse {
            log_groups: Some(shown.collect()),
            next_token: last.filter(|_| more),
        })
    }

    async fn describe_these(
        &self,
        ask: &Ask<'_>,
        identifiers: &[String],
    ) -> Result<DescribeLogGroupsResponse, Refusal> {
        let who = ask.caller.identity.principal();
        let mut groups = Vec::new();
        for identifier in identifiers {
            let group = ask.group(identifier)?;
            match self.engine.log_groups().find(&who, &group).await {
                Ok(found) => groups.push(show(&found)),
                Err(engine::Error::NotThere { .. }) => {}
                Err(error) => return Err(ask.refusal(&error)),
            }
        }
        Ok(DescribeLogGroupsResponse {
            log_groups: Some(groups),
            next_token: None,
        })
    }

    pub(super) async fn put_retention(
        &self,
        ask: &Ask<'_>,
        request: PutRetentionPolicyRequest,
    ) -> Result<(), Refusal> {
        let days = u32::try_from(request.retention_in_days).unwrap_or_default();
        self.retain(ask, &request.log_group_name, Some(days)).await
    }

    pub(super) async fn delete_retention(
        &self,
        ask: &Ask<'_>,
        request: DeleteRetentionPolicyRequest,
    ) -> Result<(), Refusal> {
        self.retain(ask, &request.log_group_name, None).await
    }

    async fn retain(&self, ask: &Ask<'_>, name: &str, days: Option<u32>) -> Result<(), Refusal> {
        let group = ask.group(name)?;
        let who = ask.caller.identity.principal();
        let log_groups = self.engine.log_groups();
        let retained = log_groups.retain(&who, &group, days).await;
        retained.map_err(|error| ask.refusal(&error))
    }

    pub(super) async fn tag_log_group(
        &self,
        ask: &Ask<'_>,
        request: TagLogGroupRequest,
    ) -> Result<(), Refusal> {
        let name = &request.log_group_name;
        self.tag_logs(ask, name, request.tags, Vec::new()).await
    }

    pub(super) async fn untag_log_group(
        &self,
        ask: &Ask<'_>,
        request: UntagLogGroupRequest,
    ) -> Result<(), Refusal> {
        let name = &request.log_group_name;
        self.tag_logs(ask, name, BTreeMap::new(), request.tags)
            .await
    }

    pub(super) async fn tag_logs_resource(
        &self,
        ask: &Ask<'_>,
        request: TagResourceRequest,
    ) -> Result<(), Refusal> {
        let arn = resource(&request.resource_arn)?;
        self.tag_logs(ask, arn, request.tags, Vec::new()).await
    }

    pub(super) async fn untag_logs_resource(
        &self,
        ask: &Ask<'_>,
        request: UntagResourceRequest,
    ) -> Result<(), Refusal> {
        let arn = resource(&request.resource_arn)?;
        self.tag_logs(ask, arn, BTreeMap::new(), request.tag_keys)
            .await
    }

    async fn tag_logs(
        &self,
        ask: &Ask<'_>,
        group: &str,
        add: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<(), Refusal> {
        let group = ask.group(group)?;
        let who = ask.caller.identity.principal();
        let log_groups = self.engine.log_groups();
        let tagged = log_groups.tag(&who, &group, add, remove).await;
        tagged.map_err(|error| ask.refusal(&error))
    }

    pub(super) async fn list_tags_log_group(
        &self,
        ask: &Ask<'_>,
        request: ListTagsLogGroupRequest,
    ) -> Result<ListTagsLogGroupResponse, Refusal> {
        let group = self.find_log_group(ask, &request.log_group_name).await?;
        Ok(ListTagsLogGroupResponse {
            tags: Some(group.tags),
        })
    }

    pub(super) async fn list_tags_for_resource(
        &self,
        ask: &Ask<'_>,
        request: ListTagsForResourceRequest,
    ) -> Result<ListTagsForResourceResponse, Refusal> {
        let arn = resource(&request.resource_arn)?;
        let group = self.find_log_group(ask, arn).await?;
        Ok(ListTagsForResourceResponse {
            tags: Some(group.tags),
        })
    }

    /// No group has filters here, as none can be made.
    pub(super) async fn describe_metric_filters(
        &self,
        ask: &Ask<'_>,
        request: DescribeMetricFiltersRequest,
    ) -> Result<DescribeMetricFiltersResponse, Refusal> {
        if let Some(name) = &request.log_group_name {
            self.find_log_group(ask, name).await?;
        }
        Ok(DescribeMetricFiltersResponse {
            metric_filters: Some(Vec::new()),
            next_token: None,
        })
    }

    pub(super) async fn describe_subscriptions(
        &self,
        ask: &Ask<'_>,
        request: DescribeSubscriptionFiltersRequest,
    ) -> Result<DescribeSubscriptionFiltersResponse, Refusal> {
        self.find_log_group(ask, &request.log_group_name).await?;
        Ok(DescribeSubscriptionFiltersResponse {
            subscription_filters: Some(Vec::new()),
            next_token: None,
        })
    }

    async fn find_log_group(&self, ask: &Ask<'_>, name: &str) -> Result<GroupView, Refusal> {
        let group = ask.group(name)?;
        let who = ask.caller.identity.principal();
        let found = self.engine.log_groups().find(&who, &group).await;
        found.map_err(|error| ask.refusal(&error))
    }
}

/// No key can be used: a group that says it is encrypted with one must be.
fn no_key(key: &str, group: &LogGroupId) -> Refusal {
    if key.starts_with("arn:") && key.split(':').nth(2) == Some("kms") {
        let message = format!(
            "The specified KMS key does not exist or is not allowed to be used with Arn '{}'",
            model::arn::log_group(group)
        );
        return Refusal::new(kind::ACCESS_DENIED, message);
    }
    Refusal::invalid(format!(
        "The specified KMS Key Id could not be found. '{}'",
        group.name
    ))
}

/// What can have tags is named by an ARN.
fn resource(arn: &str) -> Result<&str, Refusal> {
    if arn.starts_with("arn:") {
        return Ok(arn);
    }
    Err(Refusal::invalid("The resource ARN is not valid."))
}

fn show(group: &GroupView) -> LogGroup {
    let arn = model::arn::log_group(&group.id);
    let class = group.kept.get(CLASS).cloned();
    LogGroup {
        log_group_name: Some(group.id.name.to_string()),
        creation_time: Some(long(group.created_ms)),
        retention_in_days: group.retention_days.map(integer),
        metric_filter_count: Some(0),
        arn: Some(format!("{arn}:*")),
        stored_bytes: Some(long(group.stored_bytes)),
        kms_key_id: group.kept.get(KMS_KEY).cloned(),
        log_group_class: Some(class.map_or(LogGroupClass::Standard, LogGroupClass::from)),
        log_group_arn: Some(arn),
        deletion_protection_enabled: Some(group.protected),
        ..LogGroup::default()
    }
}
