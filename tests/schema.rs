//! The committed JSON Schema is the one that the program would generate.
//! `UPDATE_GOLDENS=1 cargo test --test schema` writes it anew.

use std::path::Path;

#[test]
fn the_schema_is_current() -> Result<(), Box<dyn std::error::Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/measurement.schema.json");
    let schema = pathspider::measurement::schema();
    let current = serde_json::to_string_pretty(&schema)? + "\n";
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &current)?;
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == current,
        "{} is stale: UPDATE_GOLDENS=1 cargo test --test schema",
        path.display()
    );
    Ok(())
}

/// Whatever may be listed in a chain is known to the editor, with its explanation.
#[test]
fn every_function_is_in_the_schema() {
    let schema = pathspider::measurement::schema().to_string();
    for (_, function) in pathspider::chain::functions() {
        assert!(schema.contains(&format!("\"{}\"", function.name)), "{}", function.name);
        assert!(schema.contains(function.doc), "{}", function.name);
    }
    assert!(!schema.contains("null"), "TOML has no null");
}
