//! The controller's store: damaged, gone, or from the future. It is never replaced by an empty one.

use super::place::{Place, SERVER, all_of, untouched};

/// A place whose controller knows an agent, and has ended.
fn known() -> Place {
    let mut place = Place::served();
    place.enrol(&place.token(SERVER), &[]).succeeded();
    place.close();
    place
}

#[test]
fn a_damaged_store_keeps_the_controller_from_starting() {
    let place = known();
    let file = place.controller_data.join("controller.db");
    let good = std::fs::read(&file).unwrap();
    let mut scratched = good.clone();
    for page in scratched.chunks_mut(4096).skip(1) {
        page[..8].fill(0x5a);
    }
    let text = b"this is a letter and no database\n".repeat(40);
    for bad in [
        &scratched[..],
        &good[..good.len() / 2],
        &good[..4096],
        &text,
    ] {
        std::fs::write(&file, bad).unwrap();
        let before = all_of(&place.controller_data);
        place.serving().refused(1, "C103-store-corrupt");
        untouched(&place.controller_data, &before);
    }
}

#[test]
fn a_store_that_is_gone_or_emptied_is_not_begun_anew() {
    let mut place = known();
    let file = place.controller_data.join("controller.db");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    let before = all_of(&place.controller_data);
    place.serving().refused(1, "C108-store-missing");
    untouched(&place.controller_data, &before);
    std::fs::remove_file(&file).unwrap();
    place.serving().refused(1, "C108-store-missing");
    assert!(!file.exists());
    std::fs::write(&file, good).unwrap();
    place.serve();
    let list = place.operator(&["agent", "list", "-o", "json"]);
    assert!(list.succeeded().contains(SERVER), "{}", list.stdout);
}

#[test]
fn a_store_of_a_newer_controller_is_left_to_it() {
    let place = known();
    let file = place.controller_data.join("controller.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of the future', 1, x'00', 0)",
            [],
        )
        .unwrap();
    drop(database);
    let before = all_of(&place.controller_data);
    place.serving().refused(1, "C102-store-newer");
    untouched(&place.controller_data, &before);
}
