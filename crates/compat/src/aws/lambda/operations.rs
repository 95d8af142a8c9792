//! Which operation of the Lambda API a request asks for, by its method, path and query.

use http::Method;

pub(super) use super::shapes::operation::Name;
use super::shapes::operation::OPERATIONS;
use crate::aws::shape;

pub(super) type Operation = shape::Operation<Name>;

/// The operation that a request asks for, with the segments that the caller chose by their
/// names, still escaped.
pub(super) fn find<'p>(
    method: &Method,
    path: &'p str,
    query: &str,
) -> Option<(&'static Operation, Vec<(&'static str, &'p str)>)> {
    // Older clients end collections with a slash.
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut found = None;
    for operation in OPERATIONS
        .iter()
        .filter(|operation| operation.method == method.as_str())
    {
        let Some(labels) = labels(operation.path, path) else {
            continue;
        };
        if operation.query.is_empty() {
            found = found.or(Some((operation, labels)));
        } else if query.split('&').any(|pair| pair == operation.query) {
            return Some((operation, labels));
        }
    }
    found
}

/// The chosen segments of a path, where it has the pattern.
fn labels<'p>(pattern: &'static str, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
    let mut labels = Vec::new();
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        let segment = segments.next()?;
        let label = wanted
            .strip_prefix('{')
            .and_then(|label| label.strip_suffix('}'));
        match label {
            Some(_) if segment.is_empty() => return None,
            Some(label) => labels.push((label, segment)),
            None if segment != wanted => return None,
            None => {}
        }
    }
    segments.next().is_none().then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, query: &str, expected: &str) {
        let found = find(&method, path, query).map(|(operation, labels)| {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, label)| format!("{name}={label}"))
                .collect();
            format!("{} {}", operation.name, labels.join(" "))
        });
        assert_eq!(
            found.unwrap_or_default().trim_end(),
            expected,
            "{method} {path}?{query}"
        );
    }

    #[test]
    fn every_operation_is_found_by_its_own_request() {
        assert_eq!(OPERATIONS.len(), 91);
        for operation in OPERATIONS {
            let method = operation.method.parse().unwrap();
            let found = find(&method, operation.path, operation.query);
            assert_eq!(found.map(|(found, _)| found.is), Some(operation.is));
        }
    }

    #[test]
    fn requests_name_operations() {
        check(
            Method::POST,
            "/2015-03-31/functions/a%3A1/invocations",
            "",
            "Invoke FunctionName=a%3A1",
        );
        check(
            Method::GET,
            "/2015-03-31/functions/",
            "MaxItems=1",
            "ListFunctions",
        );
        check(
            Method::GET,
            "/2018-10-31/layers",
            "find=LayerVersion&Arn=x",
            "GetLayerVersionByArn",
        );
        check(Method::GET, "/2018-10-31/layers", "", "ListLayers");
        check(Method::GET, "/2015-03-31/functions//policy", "", "");
        check(Method::PATCH, "/2015-03-31/functions/a", "", "");
        check(Method::GET, "/", "", "");
    }
}
