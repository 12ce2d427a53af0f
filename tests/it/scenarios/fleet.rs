//! Many sites, some of them faulty in several ways at once.

use serde_json::Value;

use crate::lab_run::{lab, play};

fn rows<'r>(report: &'r mailmend_lab::scenario::Report, name: &str) -> &'r [Value] {
    report.extras[name].as_array().unwrap()
}

#[test]
fn three_of_five_sites_are_mended_in_waves_while_processes_are_killed_and_the_others_are_left_alone()
 {
    let (good, report) = play(
        "fleet",
        "--sites 5 --faulty 3 --kills 4 --messages 50 --seed 2",
    );
    assert_eq!(report.harm(), Vec::<String>::new(), "{report:?}");
    assert!(good, "{report:?}");
    assert_eq!((report.sites, report.servers), (5, 10), "{report:?}");
    assert_eq!(rows(&report, "articles").len(), 3, "{report:?}");
    assert_eq!(report.extras["healthy_untouched"], true, "{report:?}");
    // Every faulty site is spoken of, mended or with a reason.
    let faulty = rows(&report, "sites_faulty");
    assert_eq!(faulty.len(), 3, "{report:?}");
    for site in faulty {
        let outcome = site["outcome"].as_str().unwrap();
        let told = outcome.starts_with("mended")
            || outcome.starts_with("safe")
            || outcome.starts_with("at rest");
        assert!(told, "{site}");
    }
    // The article that is for every version goes to one site first, then to the others.
    let first = rows(&report, "waves")
        .iter()
        .find(|rollout| rollout["policy"] == "corrupt-message")
        .unwrap();
    assert_eq!(
        first["sites_per_wave"],
        serde_json::json!([1, 1, 3]),
        "{report:?}"
    );
    assert_eq!(first["begun"], 3, "{report:?}");
}

#[test]
fn what_cannot_be_a_fleet_is_refused_before_anything_is_started() {
    for (arguments, told) in [
        (
            &["--sites", "7", "--faulty", "9"][..],
            "9 of 7 sites cannot be faulty",
        ),
        (&["--sites", "7", "--faulty", "0"], "at least 1"),
        (
            &["--sites", "7", "--faulty", "2", "--messages", "10"],
            "at least 56",
        ),
        (&["--variant", "stale"], "the seed draws what is wrong"),
    ] {
        let output = lab("fleet", arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{said}");
        assert!(!said.contains("the world is in"), "{said}");
    }
    let output = lab("stuck-outbound", &["--faulty", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
