//! What is written from the service models is current, as an ordinary test.

use std::path::Path;

#[test]
fn the_shapes_are_what_the_models_give() {
    let python = std::env::var("DAYFLY_TEST_PYTHON")
        .expect("DAYFLY_TEST_PYTHON is not set; run `cargo xtask test`, which sets it");
    let stale = xtask::shapes::stale(Path::new(&python)).unwrap();
    let paths: Vec<_> = stale.iter().map(|(path, _)| path.display()).collect();
    assert!(
        paths.is_empty(),
        "run `cargo xtask shapes`, which writes {paths:?} anew"
    );
}
