//! What the documents name is there.

use std::path::Path;

/// All files below `folder` that end in `.rs`, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            *text += &std::fs::read_to_string(&path).expect("the file can be read");
        }
    }
}

#[test]
fn every_fault_of_the_reliability_page_has_the_tests_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/reliability.md")).expect("the page");
    let table = page.split_once("\n## Every fault\n").and_then(|(_, rest)| rest.split_once("\n## "));
    let rows: Vec<&str> = table.expect("the table").0.lines().filter(|l| l.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let mut code = String::new();
    sources(&root.join("tests"), &mut code);
    sources(&root.join("src"), &mut code);
    let mut named = 0;
    // Rows in italics are headings.
    for row in rows.into_iter().filter(|row| !row.starts_with("| *")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        let tests: Vec<&str> = cells[1].split('`').skip(1).step_by(2).collect();
        let rounds: Vec<&str> = cells[1].split("**").skip(1).step_by(2).collect();
        for test in &tests {
            assert!(code.contains(&format!("fn {test}(")), "there is no test {test}: {row}");
        }
        for round in &rounds {
            assert!(code.contains(&format!("fault(\"{round}\"")), "there is no round {round}: {row}");
        }
        assert!(!tests.is_empty() || !rounds.is_empty() || cells[1].contains("every"), "no test is named: {row}");
        named += tests.len() + rounds.len();
    }
    assert!(named > 60, "{named} tests are named");
}
