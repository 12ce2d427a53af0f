//! A record as `EvtRender` writes it: XML in the schema of Windows' events.

use std::borrow::Cow;

use roxmltree::{Document, Node};

use super::record::Record;

/// What stands for a character that XML cannot have.
const UNREADABLE: char = '\u{FFFD}';

impl Record {
    /// The record in a rendered event, or why it is none.
    pub(in crate::host) fn parse_rendered(xml: &str) -> Result<Self, String> {
        let xml = readable(xml);
        let document = Document::parse(&xml).map_err(|why| format!("it is no XML: {why}"))?;
        let event = document.root_element();
        if event.tag_name().name() != "Event" {
            let name = event.tag_name().name();
            return Err(format!("it is `{name}` and no event"));
        }
        let system = child(event, "System")?;
        let provider = child(system, "Provider")?;
        // What an old program calls itself stands second where the name has been given to a newer one: policies
        // name it as the Event Viewer of its time did.
        let source = provider
            .attribute("EventSourceName")
            .or_else(|| provider.attribute("Name"))
            .filter(|name| !name.is_empty())
            .ok_or("its `Provider` has no name")?;
        let created = child(system, "TimeCreated")?
            .attribute("SystemTime")
            .ok_or("its `TimeCreated` has no `SystemTime`")?;
        let at: jiff::Timestamp = created
            .parse()
            .map_err(|why| format!("its time `{created}` is none: {why}"))?;
        let number = number(system, "EventRecordID")?;
        let id = self::number(system, "EventID")?;
        let id = u32::try_from(id).map_err(|_| format!("its `EventID` is `{id}`"))?;
        let inserted: Vec<String> = ["EventData", "UserData"]
            .iter()
            .filter_map(|name| named(event, name))
            .flat_map(texts)
            .collect();
        Ok(Self::new(
            number,
            at.as_millisecond(),
            source.to_owned(),
            // The rest of the number that the program gave stands in `Qualifiers`.
            id & 0xFFFF,
            &inserted,
        ))
    }
}

/// The texts that were inserted, in their order. Bytes that go with an event (`Binary`) are none, and an
/// empty text keeps its place.
fn texts<'a>(data: Node<'a, 'a>) -> Vec<String> {
    data.children()
        .filter(Node::is_element)
        .flat_map(|node| match node.tag_name().name() {
            "Binary" => Vec::new(),
            "Data" => vec![whole_text(node)],
            // The form of newer programs: elements of their own, which may have others in them.
            _ if node.children().any(|child| child.is_element()) => texts(node),
            _ => vec![whole_text(node)],
        })
        .collect()
}

fn whole_text(node: Node<'_, '_>) -> String {
    node.descendants()
        .filter(Node::is_text)
        .filter_map(|text| text.text())
        .collect()
}

fn named<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children()
        .find(|child| child.is_element() && child.tag_name().name() == name)
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Result<Node<'a, 'a>, String> {
    named(node, name).ok_or_else(|| format!("it has no `{name}`"))
}

fn number(node: Node<'_, '_>, name: &str) -> Result<u64, String> {
    let text = whole_text(child(node, name)?);
    let text = text.trim();
    text.parse()
        .map_err(|_| format!("its `{name}` is `{text}` and no number"))
}

/// The same without what XML 1.0 cannot have: programs insert whatever bytes they have, and Windows renders
/// them as they are.
fn readable(xml: &str) -> Cow<'_, str> {
    let xml = if xml.chars().all(may_stand) {
        Cow::Borrowed(xml)
    } else {
        let may = |c| if may_stand(c) { c } else { UNREADABLE };
        Cow::Owned(xml.chars().map(may).collect())
    };
    if !xml.contains("&#") {
        return xml;
    }
    let mut out = String::with_capacity(xml.len());
    let mut rest: &str = &xml;
    while let Some(at) = rest.find("&#") {
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find(';') else {
            break;
        };
        let written = &rest[at + 2..at + end];
        let number = match written.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => written.parse(),
        };
        match number.map(char::from_u32) {
            Ok(Some(c)) if may_stand(c) => out.push_str(&rest[at..=at + end]),
            Ok(_) => out.push(UNREADABLE),
            // Not a number at all: whoever parses it says so.
            Err(_) => out.push_str(&rest[at..=at + end]),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn may_stand(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests;
