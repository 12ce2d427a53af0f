//! Address spaces as a server states them.

/// How far an address space reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every site routes to it.
    Organisation,
    /// Only its own site does.
    Site,
}

/// An address space that a server is an outbound path for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Its type and pattern in one case, since Exchange compares without it: `SMTP:*`, `SMTP:example.com`.
    pub name: String,
    /// The lower the better, 1 to 100; 1 unless stated. Which path is taken first is for routing to say; any
    /// of them keeps mail moving.
    pub cost: u32,
    /// How far it reaches; the organisation unless stated.
    pub reach: Reach,
}

/// A text that states no address spaces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no address space: {why}; write TYPE:PATTERN, then a cost from 1 to 100 and `site` where it needs \
     them, such as `SMTP:*;1` or `SMTP:example.com;10;site`"
)]
pub struct NotASpace {
    /// The part that makes no sense.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

/// Reads address spaces with commas between; `none` and nothing at all are none.
///
/// # Errors
/// At the first that makes no sense.
pub fn spaces(text: &str) -> Result<Vec<Space>, NotASpace> {
    if text.trim().is_empty() || text.trim() == "none" {
        return Ok(Vec::new());
    }
    text.split(',').map(|one| space(one.trim())).collect()
}

fn space(text: &str) -> Result<Space, NotASpace> {
    let not = |why| NotASpace {
        text: text.escape_debug().to_string(),
        why,
    };
    let mut fields = text.split(';').map(str::trim);
    let name = fields.next().unwrap_or_default();
    let Some((kind, pattern)) = name.split_once(':') else {
        return Err(not("it has no type, such as `SMTP:`"));
    };
    if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(not("its type is not of letters and digits"));
    }
    if pattern.is_empty() || pattern.contains(char::is_whitespace) {
        return Err(not("it has no pattern, such as `*` or a domain"));
    }
    let cost = match fields.next() {
        None => 1,
        Some(cost) => cost
            .parse()
            .ok()
            .filter(|cost| (1..=100).contains(cost))
            .ok_or_else(|| not("its cost is no number from 1 to 100"))?,
    };
    let reach = match fields.next() {
        None | Some("organisation") => Reach::Organisation,
        Some("site") => Reach::Site,
        Some(_) => return Err(not("its scope is neither `site` nor `organisation`")),
    };
    if fields.next().is_some() {
        return Err(not("something follows its scope"));
    }
    Ok(Space {
        name: format!(
            "{}:{}",
            kind.to_ascii_uppercase(),
            pattern.to_ascii_lowercase()
        ),
        cost,
        reach,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_spaces_are_read_with_cost_and_scope() {
        let read = spaces("SMTP:*;1, smtp:Example.COM;10;site,X400:c=US;100;organisation").unwrap();
        let told: Vec<_> = read
            .iter()
            .map(|space| (space.name.as_str(), space.cost, space.reach))
            .collect();
        assert_eq!(
            told,
            [
                ("SMTP:*", 1, Reach::Organisation),
                ("SMTP:example.com", 10, Reach::Site),
                ("X400:c=us", 100, Reach::Organisation)
            ]
        );
        assert_eq!(
            (spaces("none"), spaces(" ")),
            (Ok(Vec::new()), Ok(Vec::new()))
        );
    }

    #[test]
    fn what_makes_no_sense_is_told_with_what_is_wrong() {
        for (text, why) in [
            ("*", "no type"),
            (":x", "letters and digits"),
            ("SMTP:", "no pattern"),
            ("SMTP:*;0", "1 to 100"),
            ("SMTP:*;101", "1 to 100"),
            ("SMTP:*;1;world", "scope"),
            ("SMTP:*;1;site;x", "follows"),
            ("SMTP:*,", "no type"),
        ] {
            let fault = spaces(text).unwrap_err().to_string();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }
}
