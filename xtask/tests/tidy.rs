//! The house's own rules, as an ordinary test.

use std::fmt::Write as _;

#[test]
fn the_work_tree_is_tidy() {
    let problems = xtask::tidy::check(&xtask::tree::root()).unwrap();
    let mut list = String::new();
    for problem in &problems {
        writeln!(list, "{problem}").unwrap();
    }
    assert!(problems.is_empty(), "\n{list}");
}
