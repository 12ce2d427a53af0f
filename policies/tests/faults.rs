//! The published list of faults is the one of this code.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Write as _;

use mailmend_policy::fault::{FaultCode, Severity};
use mailmend_policy::lint::RULES;

fn page() -> String {
    let mut page = String::from(
        "# Faults of policies\n\n\
         What `mailmend policy check` may say, by code. Codes are stable over releases. `P`: the language. `L1`: a dangerous\n\
         shape, which is refused. `L2`: advice, with which a policy is accepted. This page is written from the code:\n\
         `MAILMEND_BLESS=1 cargo test -p mailmend-policy --test faults`.\n\n\
         | code | means | why, and what to do |\n|-|-|-|\n",
    );
    for code in FaultCode::ALL {
        let rule = RULES.iter().find(|rule| rule.code == *code);
        let reason = rule.map_or("the hint at the place says what is meant", |rule| {
            rule.reason
        });
        let advice = if code.severity() == Severity::Advice {
            " (advice)"
        } else {
            ""
        };
        let reason = reason.replace('|', "\\|");
        writeln!(page, "| `{code}`{advice} | {} | {reason} |", code.meaning()).unwrap();
    }
    page
}

#[test]
fn the_page_of_faults_lists_every_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy-faults.md");
    if std::env::var_os("MAILMEND_BLESS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == page(),
        "run this test once with MAILMEND_BLESS=1, and read the difference"
    );
}
