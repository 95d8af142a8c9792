//! The modules that a JavaScript or TypeScript file asks for, read from its text.

/// What stands before the name of a module.
const ASKING: &[&str] = &["from", "import", "import(", "require(", "require.resolve("];

/// The names of modules in a file, as they are written there; one that is put together when the
/// code runs is not known.
pub(crate) fn specifiers(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(['"', '\'', '`'])
        .filter_map(|(at, quote)| {
            let before = text.get(..at)?.trim_end();
            let asked = ASKING.iter().any(|word| before.ends_with(word));
            let rest = text.get(at + quote.len()..).filter(|_| asked)?;
            let (name, _) = rest.split_once(quote)?;
            (!name.contains(['\n', '$'])).then_some(name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_every_form() {
        let check = |text: &str, found: &[&str]| {
            assert_eq!(specifiers(text).collect::<Vec<_>>(), found, "{text}");
        };
        check(
            "import {S3} from '@aws-sdk/client-s3'",
            &["@aws-sdk/client-s3"],
        );
        check("import\"a\";b(require('../b'))", &["a", "../b"]);
        check("await import(`c`)", &["c"]);
        check("export * from './d'", &["./d"]);
        check("log('a is slow')", &[]);
        check("import(`./${name}`)", &[]);
    }
}
