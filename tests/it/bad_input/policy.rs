//! Policy files that are none.

use super::place::Place;

#[test]
fn a_policy_that_is_no_toml_is_shown_at_its_place() {
    let place = Place::new();
    let file = place.file("bad.toml", "schema = [\n");
    let name = file.display().to_string();
    let ended = place.operator(&["policy", "check", &name]);
    let said = ended.shown(2, "P005-syntax", &format!("{name}:1:11"));
    assert!(said.contains("refused: 1 fault"), "{said}");
}

#[test]
fn a_policy_of_ten_megabytes_is_refused_before_it_is_parsed() {
    let place = Place::new();
    let file = place.file("big.toml", vec![b'#'; 10 << 20]);
    let name = file.display().to_string();
    let ended = place.operator(&["policy", "check", &name]);
    let said = ended.shown(2, "P002-too-large", &format!("{name}:1:1"));
    assert!(
        said.len() < 1000,
        "the file is not printed: {} bytes",
        said.len()
    );
}

#[test]
fn a_policy_in_another_encoding_is_told_where_and_how_to_save_it() {
    let place = Place::new();
    for (bytes, column) in [(&b"name = \"\xff\""[..], "1:9"), (b"\xff\xfen\0a\0", "1:1")] {
        let file = place.file("encoded.toml", bytes);
        let name = file.display().to_string();
        let ended = place.operator(&["policy", "check", &name]);
        let said = ended.shown(2, "P001-not-utf8", &format!("{name}:{column}"));
        assert!(said.contains("UTF-8"), "{said}");
    }
}

#[test]
fn a_folder_or_a_missing_file_is_no_policy() {
    let place = Place::new();
    for name in [place.path(""), place.path("missing.toml")] {
        let ended = place.operator(&["policy", "check", &name.display().to_string()]);
        ended.refused(2, "C031-file");
    }
}

#[test]
fn a_faulty_policy_is_not_published_and_the_good_one_stays() {
    let place = Place::served();
    let good = place.operator(&["policy", "publish", "--shipped", "stuck-outbound-routing"]);
    good.succeeded();
    let list = || place.operator(&["policy", "list", "-o", "json"]);
    let before = list().succeeded().to_owned();
    let file = place.file(
        "bad.toml",
        "schema = \"mailmend/v1\"\nname = \"Bad Name\"\n",
    );
    let ended = place.operator(&["policy", "publish", &file.display().to_string()]);
    let said = &ended.stderr;
    assert!(
        said.contains("error[C032-policy-refused]: nothing was published"),
        "{said}"
    );
    // A version that is published never changes its text.
    let shipped = place.operator(&["policy", "show", "--shipped", "stuck-outbound-routing"]);
    let changed = format!("{}\n# changed\n", shipped.succeeded());
    let file = place.file("changed.toml", changed);
    let ended = place.operator(&["policy", "publish", &file.display().to_string()]);
    assert!(
        ended.stderr.contains("error[C086-version-taken]"),
        "{}",
        ended.stderr
    );
    assert_eq!(list().succeeded(), before);
}
