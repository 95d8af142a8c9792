//! What the cache keeps.

use super::*;

#[test]
fn the_cache_keeps_what_was_used_last() {
    let temporary = tempfile::tempdir().unwrap();
    let cache = Cache::new(temporary.path());
    drop(cache.stage("kind", "given-up").unwrap());
    assert_eq!(cache.ready("kind", "given-up"), None);
    let first = cache.stage("kind", "0").unwrap().keep().unwrap();
    assert_eq!(cache.stage("kind", "0").unwrap().keep().unwrap(), first);
    for key in 1..130 {
        cache
            .stage("kind", &key.to_string())
            .unwrap()
            .keep()
            .unwrap();
        assert!(cache.ready("kind", "0").is_some());
    }
    let kept = fs::read_dir(temporary.path().join("builds/kind"))
        .unwrap()
        .count();
    assert!(kept <= 101, "{kept}");
}
