use super::*;

/// As `wevtutil qe Application` shows one of an old program.
const CLASSIC: &str = "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
<Provider Name='MSExchangeIMC'/><EventID Qualifiers='49156'>3038</EventID><Level>2</Level><Task>3</Task>\
<Keywords>0x80000000000000</Keywords><TimeCreated SystemTime='2026-03-02T07:14:59.000000000Z'/>\
<EventRecordID>41187</EventRecordID><Channel>Application</Channel><Computer>OSLO-B</Computer><Security/></System>\
<EventData><Data>MAIL0001</Data><Data></Data><Data>two words &amp; &lt;more&gt;</Data>\
<Binary>0100000002000000</Binary></EventData></Event>";

fn record(number: u64, at_ms: i64, source: &str, id: u32, text: &str) -> Record {
    Record {
        number,
        at_ms,
        source: source.into(),
        id,
        text: text.into(),
    }
}

fn millisecond(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[test]
fn an_event_of_an_old_program_is_read_as_the_old_log_tells_it() {
    let at = millisecond("2026-03-02T07:14:59Z");
    let expected = record(
        41187,
        at,
        "MSExchangeIMC",
        3038,
        "MAIL0001  two words & <more>",
    );
    assert_eq!(Record::parse_rendered(CLASSIC), Ok(expected.clone()));
    let bytes = super::super::record::tests::bytes(
        41187,
        u32::try_from(at / 1000).unwrap(),
        "MSExchangeIMC",
        3038,
        &["MAIL0001", "", "two words & <more>"],
    );
    assert_eq!(Record::parse_all(&bytes), Some(vec![expected]));
}

#[test]
fn an_event_of_the_service_manager_keeps_the_name_that_policies_know() {
    let xml = "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
<Provider Name='Service Control Manager' Guid='{555908d1-a6d7-4695-8e1e-26931d2012f4}' EventSourceName='Service Control Manager'/>\
<EventID Qualifiers='49152'>7034</EventID><Version>0</Version><TimeCreated SystemTime='2026-03-02T07:15:00.1234567Z'/>\
<EventRecordID>902</EventRecordID><Correlation/><Execution ProcessID='620' ThreadID='4112'/><Channel>System</Channel>\
<Computer>OSLO-B</Computer><Security/></System><EventData><Data Name='param1'>Microsoft Exchange Internet Mail Connector</Data>\
<Data Name='param2'>1</Data><Binary>4D0053</Binary></EventData></Event>";
    assert_eq!(
        Record::parse_rendered(xml),
        Ok(record(
            902,
            millisecond("2026-03-02T07:15:00.123Z"),
            "Service Control Manager",
            7034,
            "Microsoft Exchange Internet Mail Connector 1"
        ))
    );
    let renamed = xml.replace(
        "Name='Service Control Manager' Guid",
        "Name='Microsoft-Windows-Service Control Manager' Guid",
    );
    let source = Record::parse_rendered(&renamed).unwrap().source;
    assert_eq!(source, "Service Control Manager");
}

#[test]
fn an_event_with_elements_of_its_own_or_with_none_has_their_texts() {
    let xml = CLASSIC
        .replace("<EventData>", "<UserData><Cleared xmlns='urn:x'>")
        .replace("</EventData>", "</Cleared></UserData>")
        .replace("<Data>", "<Name>")
        .replace("</Data>", "</Name>");
    let text = Record::parse_rendered(&xml).unwrap().text;
    assert_eq!(text, "MAIL0001  two words & <more>");
    let none = format!(
        "{}</Event>",
        &CLASSIC[..CLASSIC.find("<EventData>").unwrap()]
    );
    assert_eq!(Record::parse_rendered(&none).unwrap().text, "");
}

#[test]
fn characters_that_xml_cannot_have_do_not_hide_a_record() {
    for odd in [
        "\u{1}",
        "&#1;",
        "&#x1;",
        "&#0;",
        "&#xFFFE;",
        "\u{FFFF}",
        "&#xD800;",
        "&#x110000;",
    ] {
        let xml = CLASSIC.replace("MAIL0001", &format!("MAIL{odd}0001"));
        let text = Record::parse_rendered(&xml).unwrap().text;
        assert_eq!(text, "MAIL\u{FFFD}0001  two words & <more>", "{odd:?}");
    }
    let good = CLASSIC.replace("MAIL0001", "&#77;&#x41;IL0001");
    let text = Record::parse_rendered(&good).unwrap().text;
    assert!(text.starts_with("MAIL0001 "), "{text}");
}

#[test]
fn what_is_no_event_says_what_it_lacks() {
    for (from, to, why) in [
        ("<Event ", "<Evnt ", "XML"),
        ("<System>", "<System", "XML"),
        ("&amp;", "&nosuch;", "XML"),
        ("&amp;", "&#zz;", "XML"),
        (" Name='MSExchangeIMC'", "", "name"),
        (" Name='MSExchangeIMC'", " Name=''", "name"),
        ("41187", "", "EventRecordID"),
        ("41187", "-1", "EventRecordID"),
        ("41187", "99999999999999999999", "EventRecordID"),
        (">3038<", ">x<", "EventID"),
        (">3038<", ">4294967296<", "EventID"),
        ("SystemTime='2026", "SystemTime='20x6", "time"),
        ("SystemTime", "Other", "SystemTime"),
        ("TimeCreated", "Time", "TimeCreated"),
    ] {
        let bad = CLASSIC.replace(from, to);
        assert_ne!(bad, CLASSIC, "{from}");
        let told = Record::parse_rendered(&bad).unwrap_err();
        assert!(told.contains(why), "{from} -> {to}: {told}");
    }
    assert!(Record::parse_rendered("").is_err());
    let other = Record::parse_rendered("<Events/>").unwrap_err();
    assert!(other.contains("Events"), "{other}");
}

#[test]
fn a_cut_event_is_never_a_record() {
    for end in 0..CLASSIC.len() {
        assert!(Record::parse_rendered(&CLASSIC[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_text_without_end_is_cut_where_the_old_log_cuts_it() {
    let xml = CLASSIC.replace("MAIL0001", &"ä".repeat(100_000));
    let text = Record::parse_rendered(&xml).unwrap().text;
    assert_eq!(text.len(), 64 * 1024);
}
