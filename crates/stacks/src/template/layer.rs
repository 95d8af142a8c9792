//! `AWS::Serverless::LayerVersion` with content beside the template.

use model::Runtime;

use super::yaml::Node;
use super::{Context, Resource, is_remote};
use crate::error::Error;
use crate::project::{LayerBuild, LayerPlan};

/// Properties that say nothing about how a layer is used here.
const INFORMATIVE: &[&str] = &[
    "LayerName",
    "Description",
    "CompatibleRuntimes",
    "CompatibleArchitectures",
    "LicenseInfo",
    "RetentionPolicy",
];

pub(super) fn read(
    resource: &Resource<'_>,
    context: &mut Context<'_>,
) -> Result<Option<LayerPlan>, Error> {
    let properties = resource
        .node
        .get("Properties")
        .and_then(Node::map)
        .unwrap_or_default();
    for entry in properties {
        let known = entry.key == "ContentUri" || INFORMATIVE.contains(&entry.key.as_str());
        if !known {
            let what = format!("{} of {}", entry.key, resource.kind);
            context
                .report
                .unsupported(entry.line, what, Some(resource.id));
        }
    }
    let uri = resource
        .node
        .get("Properties")
        .and_then(|properties| properties.get("ContentUri"));
    let uri = uri.and_then(|uri| context.resolver.resolve(uri, &mut context.report));
    let Some(uri) = uri else {
        return Err(context.report.error(
            resource.line,
            &format!("the layer {} has no ContentUri", resource.id),
        ));
    };
    if uri.as_text().is_none_or(|text| is_remote(&text)) {
        context.report.warn(
            uri.line,
            format!(
                "the content of layer {} is not beside the template; it is left out",
                resource.id
            ),
        );
        return Ok(None);
    }
    let Some(source) = context.source(&uri, "ContentUri")? else {
        return Ok(None);
    };
    Ok(Some(LayerPlan {
        name: resource.id.to_owned(),
        source,
        build: build(resource, context),
    }))
}

fn build(resource: &Resource<'_>, context: &mut Context<'_>) -> LayerBuild {
    let method = resource
        .node
        .get("Metadata")
        .and_then(|metadata| metadata.get("BuildMethod"));
    let Some(method) = method else {
        return LayerBuild::Copy;
    };
    match method
        .as_text()
        .and_then(|text| text.parse::<Runtime>().ok())
    {
        Some(runtime @ Runtime::Python { .. }) => LayerBuild::Python(runtime),
        Some(runtime @ Runtime::Node { .. }) => LayerBuild::Node(runtime),
        _ => {
            let name = method.as_text().unwrap_or_default();
            context.report.unsupported(
                method.line,
                format!("BuildMethod {name} of a layer"),
                Some(resource.id),
            );
            LayerBuild::Copy
        }
    }
}
