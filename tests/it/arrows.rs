//! The shape of the house: what depends on what, what stands at the top, and what may not come in.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The workspace's folder.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(top())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let all = [
        &["metadata", "--format-version", "1", "--offline"],
        arguments,
    ]
    .concat();
    serde_json::from_str(&run(&cargo, &all)).unwrap()
}

/// The crates of this workspace that a crate depends on, in any way (tests and build scripts too).
fn arrows(metadata: &Value, name: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    let package = packages.iter().find(|one| one["name"] == name).unwrap();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies
        .map(|one| one["name"].as_str().unwrap())
        .filter(|one| names.contains(one))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dependencies_point_one_way_and_agent_and_controller_never_meet() {
    let metadata = metadata(&["--no-deps"]);
    let expected: [(&str, &[&str]); 7] = [
        ("mailmend-policy", &[]),
        ("mailmend-trust", &[]),
        ("mailmend-proto", &["mailmend-policy", "mailmend-trust"]),
        ("mailmend-telemetry", &[]),
        (
            "mailmend-agent",
            &[
                "mailmend-policy",
                "mailmend-proto",
                "mailmend-telemetry",
                "mailmend-trust",
            ],
        ),
        (
            "mailmend",
            &[
                "mailmend-policy",
                "mailmend-proto",
                "mailmend-telemetry",
                "mailmend-trust",
            ],
        ),
        (
            "mailmend-lab",
            &[
                "mailmend",
                "mailmend-agent",
                "mailmend-policy",
                "mailmend-proto",
                "mailmend-telemetry",
                "mailmend-trust",
            ],
        ),
    ];
    assert_eq!(
        metadata["packages"].as_array().unwrap().len(),
        expected.len()
    );
    for (name, allowed) in expected {
        let found = arrows(&metadata, name);
        let allowed: BTreeSet<String> = allowed.iter().map(|&one| one.to_owned()).collect();
        assert!(
            found.is_subset(&allowed),
            "{name} depends on {found:?}, allowed are {allowed:?}"
        );
    }
}

#[test]
fn the_top_of_the_house_is_as_it_was_drawn() {
    let rooms = [
        "Cargo.toml",
        "proto",
        "agent",
        "controller",
        "policies",
        "tests",
    ];
    let beside = [
        ".cargo",
        ".ci",
        ".config",
        ".gitattributes",
        ".gitignore",
        ".taplo.toml",
        "CHANGELOG.md",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "deny.toml",
        "docs",
        "rust-toolchain.toml",
        "rustfmt.toml",
    ];
    for room in rooms {
        assert!(top().join(room).exists(), "`{room}` is missing");
    }
    // A source package without git has nothing but what was tracked.
    let here: BTreeSet<String> = if top().join(".git").exists() {
        let tracked = run("git", &["ls-files"]);
        tracked
            .lines()
            .filter_map(|path| path.split('/').next())
            .map(str::to_owned)
            .collect()
    } else {
        let entries = std::fs::read_dir(top()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "target").collect()
    };
    let strangers: Vec<_> = here
        .iter()
        .filter(|name| !rooms.contains(&name.as_str()) && !beside.contains(&name.as_str()))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?} stand at the top level");
}

fn deny() -> toml::Table {
    std::fs::read_to_string(top().join("deny.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn no_banned_crate_is_in_the_lock_file() {
    let lock = std::fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let locked: BTreeSet<&str> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(
        locked.contains("rustls"),
        "the lock file was not understood"
    );
    let deny = deny();
    let banned = deny["bans"]["deny"].as_array().unwrap();
    assert!(banned.len() >= 3);
    for entry in banned {
        let name = entry["crate"].as_str().unwrap();
        assert!(
            !locked.contains(name),
            "`{name}` is banned: {}",
            entry["reason"]
        );
    }
}

#[test]
fn every_licence_in_the_graph_is_an_allowed_one() {
    let rustc = run("rustc", &["-vV"]);
    let host = rustc
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let metadata = metadata(&["--filter-platform", host]);
    let deny = deny();
    let allowed: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "the graph was not understood");
    let refused: Vec<_> = packages
        .iter()
        .map(|one| {
            (
                one["name"].to_string(),
                one["license"].as_str().unwrap_or("none").to_owned(),
            )
        })
        .filter(|(_, licence)| !permits(licence, &allowed))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// Whether a licence expression is satisfied: every part of `AND` by one of its alternatives.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')', ' ']);
        part.split(" OR ")
            .flat_map(|one| one.split('/'))
            .any(|one| allowed.contains(&one.trim()))
    })
}

#[test]
fn a_licence_expression_needs_every_part_and_one_alternative_of_each() {
    let allowed = ["MIT", "ISC"];
    assert!(permits("GPL-3.0 OR MIT", &allowed));
    assert!(permits("(MIT OR GPL-3.0) AND ISC", &allowed));
    assert!(permits("GPL-3.0/ISC", &allowed));
    assert!(!permits("MIT AND GPL-3.0", &allowed));
    assert!(!permits("none", &allowed));
}
