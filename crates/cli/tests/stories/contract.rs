//! The Lambda API as boto3 sees it, one script for each part of the contract.

use crate::clients::boto3;
use crate::project::Project;
use crate::test_node::TestNode;

const COMMON: &str = include_str!("contract/common.py");

/// Runs a script against a node without functions.
fn check(script: &str) {
    let project = Project::new(&[("seed/app.py", "def handler(event, context): pass")]);
    let node = TestNode::with(&project);
    boto3(&node, &format!("{COMMON}\n{script}"));
}

#[test]
fn functions_are_made_changed_and_removed() {
    check(include_str!("contract/functions.py"));
}

#[test]
fn versions_stay_and_aliases_lead_to_them() {
    check(include_str!("contract/versions.py"));
}

#[test]
fn layers_and_functions_are_shared() {
    check(include_str!("contract/sharing.py"));
}

#[test]
fn bad_input_is_refused_in_the_services_words() {
    check(include_str!("contract/refusals.py"));
}

#[test]
fn functions_and_aliases_have_urls() {
    check(include_str!("contract/urls.py"));
}
