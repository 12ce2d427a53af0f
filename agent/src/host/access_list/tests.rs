use super::*;

fn others(sddl: &str, right: Right, trusted: &[&str]) -> Vec<String> {
    let trusted: Vec<Account> = ["SY", "BA", TRUSTED_INSTALLER]
        .iter()
        .chain(trusted)
        .map(|account| Account::of(account))
        .collect();
    let list = AccessList::parse(sddl).unwrap();
    let others = list.others_who_may(right, &trusted);
    others.iter().map(|one| one.number().to_owned()).collect()
}

const USERS: &str = "S-1-5-32-545";
const EVERYONE: &str = "S-1-1-0";
const PERSON: &str = "S-1-5-21-3623811015-3361044348-30300820-1013";

#[test]
fn what_administrators_and_the_system_have_alone_nobody_else_has() {
    // As `install.cmd` sets it, and as the agent sets it.
    for sddl in [
        "O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)",
        "O:SYG:SYD:P(A;;FA;;;SY)(A;;0x1f01ff;;;BA)",
        "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464D:PAI(A;;FA;;;S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464)",
        "O:BAD:P",
    ] {
        for right in [Right::Change, Right::Read, Right::Replace] {
            assert!(others(sddl, right, &[]).is_empty(), "{sddl}");
        }
    }
}

#[test]
fn a_file_below_programdata_can_be_read_by_users_and_not_changed() {
    let sddl = "O:BAG:DUD:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)";
    assert!(others(sddl, Right::Change, &[]).is_empty());
    assert_eq!(others(sddl, Right::Read, &[]), [USERS]);
    // The folder lets users make files in it, which takes none away.
    let folder = "O:SYG:SYD:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIIOID;GA;;;CO)(A;OICIID;0x1200a9;;;BU)(A;CIID;DCLCRPCR;;;BU)";
    assert!(others(folder, Right::Replace, &[]).is_empty());
    assert_eq!(others(folder, Right::Change, &[]), [USERS]);
}

#[test]
fn whoever_else_may_change_a_file_is_named_in_whatever_letters_it_stands() {
    for rights in [
        "FA",
        "GA",
        "FW",
        "GW",
        "DC",
        "LC",
        "SD",
        "WD",
        "WO",
        "0x1301bf",
        "0x40000000",
        "0x10000000",
        "1245631",
        "CCDCLCSWRPWPDTLOCRSDRCWDWO",
    ] {
        let sddl = format!("O:BAD:(A;;FA;;;BA)(A;;{rights};;;{PERSON})");
        assert_eq!(others(&sddl, Right::Change, &[]), [PERSON], "{rights}");
        assert!(
            others(&sddl, Right::Change, &[PERSON]).is_empty(),
            "{rights}"
        );
    }
    for rights in [
        "FR",
        "FX",
        "GR",
        "GX",
        "0x1200a9",
        "0x80000000",
        "CCSWRPWPLOCRRC",
    ] {
        let sddl = format!("O:BAD:(A;;FA;;;BA)(A;;{rights};;;{PERSON})");
        assert!(others(&sddl, Right::Change, &[]).is_empty(), "{rights}");
    }
}

#[test]
fn the_owner_may_give_himself_every_right() {
    let sddl = format!("O:{PERSON}G:DUD:P(A;;FA;;;SY)(A;;FA;;;BA)");
    for right in [Right::Change, Right::Read, Right::Replace] {
        assert_eq!(others(&sddl, right, &[]), [PERSON]);
        assert!(others(&sddl, right, &[PERSON]).is_empty());
    }
    // Rights of the owner, whoever that is, are his.
    assert!(others("O:BAD:P(A;;FA;;;OW)", Right::Change, &[]).is_empty());
    // Nobody knows whose a file without an owner is.
    assert_eq!(others("D:P(A;;FA;;;SY)", Right::Read, &[]).len(), 1);
}

#[test]
fn without_a_list_everybody_may_do_everything() {
    for sddl in ["O:BA", "O:BAG:SY", "O:BAD:NO_ACCESS_CONTROL"] {
        for right in [Right::Change, Right::Read, Right::Replace] {
            assert_eq!(others(sddl, right, &["WD"]), [EVERYONE], "{sddl}");
        }
    }
}

#[test]
fn what_is_refused_first_is_not_allowed_later_and_only_then() {
    let change = |sddl: &str| others(sddl, Right::Change, &[]);
    assert!(change("O:BAD:(D;;FA;;;BU)(A;;FA;;;BU)").is_empty());
    assert!(change("O:BAD:(D;;FA;;;WD)(A;;FA;;;BU)").is_empty());
    // Refused after it was allowed, refused in part, refused to somebody else, refused below only.
    for sddl in [
        "O:BAD:(A;;FA;;;BU)(D;;FA;;;BU)",
        "O:BAD:(D;;DC;;;BU)(A;;FA;;;BU)",
        "O:BAD:(D;;FA;;;BG)(A;;FA;;;BU)",
        "O:BAD:(D;OICIIO;FA;;;BU)(A;;FA;;;BU)",
        r#"O:BAD:(XD;;FA;;;BU;(Member_of {SID(BA)}))(A;;FA;;;BU)"#,
    ] {
        assert_eq!(change(sddl), [USERS], "{sddl}");
    }
}

#[test]
fn an_entry_with_a_condition_is_taken_as_met_and_one_for_what_is_below_is_none() {
    let sddl = r#"O:BAD:PAI(XA;;FA;;;BU;(@User.Title=="PM" && (@User.Level > 3)))(A;OICIIO;FA;;;WD)(A;;FA;;;BA)S:(AU;SA;FA;;;WD)"#;
    assert_eq!(others(sddl, Right::Change, &[]), [USERS]);
}

#[test]
fn a_text_that_is_no_list_is_refused_and_never_read_as_an_empty_one() {
    for bad in [
        "O:BAD:(A;;FA;;;BU",
        "O:BAD:(A;;FA;;;)",
        "O:BAD:(A;;XYZ;;;BU)",
        "O:BAD:(A;;0xzz;;;BU)",
        "O:BAD:(A;;F;;;BU)",
        "O:BAD:(Q;;FA;;;BU)",
        "O:BAD:(A;;FA)",
        "O:BAD:(A;;FA;;;BU)junk",
    ] {
        assert!(AccessList::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn accounts_are_named_for_people_and_numbered_for_icacls() {
    assert_eq!(Account::of("BU").to_string(), "Users (S-1-5-32-545)");
    assert_eq!(Account::of(USERS), Account::of("BU"));
    assert_eq!(Account::of(PERSON).to_string(), PERSON);
    assert_eq!(Account::administrators().number(), "S-1-5-32-544");
    assert_eq!(Account::system().number(), "S-1-5-18");
}

#[test]
fn accounts_in_a_message_stand_in_one_line() {
    let both = [Account::of("BU"), Account::of(PERSON)];
    let shown = listed(&both);
    assert_eq!(shown, format!("Users (S-1-5-32-545), {PERSON}"));
}
