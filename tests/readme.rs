//! The measurements that the README shows are right.

use arrow::datatypes::Fields;
use pathspider::measurement::Plan;

#[test]
fn every_measurement_in_the_readme_is_right() {
    let readme = include_str!("../README.md");
    let mut seen = 0;
    for block in readme.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap_or_default();
        Plan::load("README.md", text, &Fields::empty()).unwrap_or_else(|report| panic!("{report}"));
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} measurements");
}
