//! The policy that is pushed: five steps of one server, padded to a size.

/// Its name.
pub const NAME: &str = "swarm";
/// The steps of its plan: the detection and those below.
pub const STEPS: u32 = 5;

const TEXT: &str = r#"schema = "mailmend/v1"
name = "swarm"
title = "Five steps of one server: look, stop, start, look, look"

[source]
article = "Q268494"

[applies_to]
product = "exchange"
versions = ">=4.0, <5.6"

[roles]
mail = { select = "ims.direction", bind = "each" }

[limits]
max_outage = "10m"
max_restarts = 4
max_files = 10

[detect]
on = "mail"
all = [{ service = "MSExchangeIMC", is = "stopped" }]

[[step]]
id = "stop-ims"
on = "mail"
action = "service.stop"
service = "MSExchangeIMC"
timeout = "90s"
then = "kill"
forbid = [{ event = { source = "MSExchangeIMC", id = 3038, since = "last-start" }, why = "stopping now sends mail again" }]

[[step]]
id = "start-ims"
on = "mail"
action = "service.start"
service = "MSExchangeIMC"
observe = "60s"
attempts = 2
timeout = "5m"

[[step]]
id = "runs"
on = "mail"
action = "check"
all = [{ service = "MSExchangeIMC", is = "running" }]

[[step]]
id = "room"
on = "mail"
action = "check"
all = [{ disk = "${imcdata}", free_over = "100MiB" }]
"#;

/// The text of a version, padded with comments to so many bytes where it is shorter.
#[must_use]
pub fn text(version: u32, bytes: usize) -> String {
    let mut text = TEXT.replacen("title =", &format!("version = {version}\ntitle ="), 1);
    while text.len() < bytes {
        let left = bytes - text.len();
        let line =
            "# This line makes the policy as long as policies that say why each step is there.\n";
        if left >= line.len() + 2 {
            text += line;
        } else {
            text += "#";
            text.extend(std::iter::repeat_n('.', left.saturating_sub(2)));
            text += "\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use mailmend_policy::parse::parse;
    use mailmend_policy::source::PolicySource;

    use super::*;

    #[test]
    fn it_is_a_policy_of_the_size_that_was_asked_for() {
        for bytes in [4096, 4097, 4095, 32 << 10] {
            let text = text(3, bytes);
            assert_eq!(text.len(), bytes);
            let policy = parse(&PolicySource::new(NAME, text.into_bytes())).unwrap();
            assert_eq!(
                (policy.steps.len(), policy.version),
                (STEPS as usize - 1, 3)
            );
        }
    }
}
