//! What a rollout has in the place of its policy's strategy.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use mailmend_policy::strategy::{LocalTime, Share, Zone};
use mailmend_policy::units::write_duration;

use super::duration;

const GATES: [&str; 2] = ["none", "health"];
const APPROVALS: [&str; 4] = ["none", "before-first", "after-first", "each-wave"];

/// What a rollout has in the place of its policy's strategy.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Strategy [default: the policy's]")]
pub(in crate::cli) struct StrategyFlags {
    /// A TOML file with keys of `[strategy]`
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "waves", "soak", "gate", "max_unavailable_site", "max_unavailable_fleet", "window", "approve_waves",
    ])]
    pub(in crate::cli) strategy: Option<PathBuf>,
    /// Sites begun by the end of each wave: `1 site`, `12` or `10%`; the last 100%
    #[arg(long, value_name = "SHARES", value_delimiter = ',', value_parser = share)]
    waves: Vec<Share>,
    /// How long a wave is only watched before the next
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    soak: Option<Duration>,
    /// What must be well after the soak
    #[arg(long, value_parser = GATES)]
    gate: Option<String>,
    /// Sites worked on at one time
    #[arg(long, value_name = "N")]
    pub(in crate::cli) sites_at_once: Option<u32>,
    /// Failed runs that are borne before nothing new starts, or a percentage of all
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_failed: Option<Share>,
    /// Servers of one site that may be out of service at once
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_unavailable_site: Option<Share>,
    /// Servers of the fleet that may be out of service at once
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_unavailable_fleet: Option<Share>,
    /// When service may be disturbed: `sat,sun 22:00-04:00 Europe/Oslo`, or `always`; may be repeated
    #[arg(long, value_name = "WINDOW", value_parser = window)]
    window: Vec<WindowFlag>,
    /// Before which waves a person is asked
    #[arg(long, value_parser = APPROVALS)]
    approve_waves: Option<String>,
}

/// A maintenance window as a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum WindowFlag {
    Always,
    Open {
        days: Vec<String>,
        from: LocalTime,
        to: LocalTime,
        zone: Zone,
    },
}

fn share(text: &str) -> Result<Share, String> {
    text.trim()
        .parse()
        .map_err(|why: mailmend_policy::strategy::NotAShare| why.to_string())
}

fn window(text: &str) -> Result<WindowFlag, String> {
    if text == "always" {
        return Ok(WindowFlag::Always);
    }
    let form = || "a window is written such as `sat,sun 22:00-04:00 Europe/Oslo`".to_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let [days, span, zone] = words[..] else {
        return Err(form());
    };
    let (from, to) = span.split_once('-').ok_or_else(form)?;
    let time = |text: &str| text.parse::<LocalTime>().map_err(|why| why.to_string());
    Ok(WindowFlag::Open {
        days: days.split(',').map(str::to_owned).collect(),
        from: time(from)?,
        to: time(to)?,
        zone: zone
            .parse()
            .map_err(|why: mailmend_policy::strategy::NoZone| why.to_string())?,
    })
}

impl StrategyFlags {
    /// The keys that were given as flags, as a TOML file; empty: none.
    pub(in crate::cli) fn fragment(&self) -> String {
        let mut keys = toml::Table::new();
        let mut put = |name: &str, value: toml::Value| {
            keys.insert(name.to_owned(), value);
        };
        let text = |text: &dyn std::fmt::Display| toml::Value::String(text.to_string());
        let number = |share: Share| match share {
            Share::Count(count) => toml::Value::Integer(count.into()),
            Share::Percent(_) => text(&share),
        };
        if !self.waves.is_empty() {
            let waves = self.waves.iter().map(|share| match share {
                Share::Count(1) => text(&"1 site"),
                Share::Count(count) => text(&format!("{count} sites")),
                Share::Percent(_) => text(share),
            });
            put("waves", waves.collect::<Vec<_>>().into());
        }
        if let Some(soak) = self.soak {
            put("soak", text(&write_duration(soak)));
        }
        if let Some(gate) = &self.gate {
            put("gate", text(gate));
        }
        if let Some(max_failed) = self.max_failed {
            put("max_failed", number(max_failed));
        }
        let mut budgets = toml::Table::new();
        for (name, share) in [
            ("site", self.max_unavailable_site),
            ("fleet", self.max_unavailable_fleet),
        ] {
            budgets.extend(share.map(|share| (name.to_owned(), number(share))));
        }
        if !budgets.is_empty() {
            put("max_unavailable", budgets.into());
        }
        if self.window.contains(&WindowFlag::Always) {
            put("windows", text(&"always"));
        } else if !self.window.is_empty() {
            let windows = self.window.iter().filter_map(|window| match window {
                WindowFlag::Always => None,
                WindowFlag::Open {
                    days,
                    from,
                    to,
                    zone,
                } => Some(toml::Value::Table(toml::Table::from_iter([
                    ("days".to_owned(), days.clone().into()),
                    ("from".to_owned(), text(from)),
                    ("to".to_owned(), text(to)),
                    ("zone".to_owned(), text(zone)),
                ]))),
            });
            put("windows", windows.collect::<Vec<_>>().into());
        }
        if let Some(approve) = &self.approve_waves {
            put("approve", text(approve));
        }
        // Plain strings, numbers and lists: nothing that cannot be written.
        toml::to_string(&keys).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use mailmend_policy::strategy::{Approve, Gate, Strategy, overridden};

    use super::*;

    #[test]
    fn every_flag_is_read_back_as_what_it_says() {
        let flags = StrategyFlags {
            waves: vec![Share::Count(1), Share::Percent(50), Share::Percent(100)],
            soak: Some(Duration::from_secs(1800)),
            gate: Some("health".into()),
            max_failed: Some(Share::Percent(5)),
            max_unavailable_site: Some(Share::Count(1)),
            max_unavailable_fleet: Some(Share::Percent(10)),
            window: vec![window("sat,sun 22:00-04:00 Europe/Oslo").unwrap()],
            approve_waves: Some("each-wave".into()),
            ..StrategyFlags::default()
        };
        let read = overridden(&Strategy::default(), flags.fragment().as_bytes(), "flags").unwrap();
        assert_eq!(read.waves, flags.waves);
        assert_eq!(read.soak, Duration::from_secs(1800));
        assert_eq!((read.gate, read.approve), (Gate::Health, Approve::EachWave));
        assert_eq!(read.max_failed, Share::Percent(5));
        assert_eq!(read.max_unavailable.site, Share::Count(1));
        assert_eq!(read.max_unavailable.fleet, Share::Percent(10));
        let window = read.windows[0].to_string();
        assert!(window.starts_with("sat, sun 22:00 to 04:00"), "{window}");
        assert!(window.ends_with("Europe/Oslo"), "{window}");
    }

    #[test]
    fn without_flags_there_is_nothing_to_override_and_bad_ones_are_refused_at_once() {
        assert_eq!(StrategyFlags::default().fragment(), "");
        for bad in [
            "sat 22:00-04:00",
            "sat 22:00 Europe/Oslo",
            "sat 25:00-04:00 UTC",
            "sat 22:00-04:00 Oslo",
        ] {
            assert!(window(bad).is_err(), "{bad}");
        }
        assert!(share("ten").is_err());
    }
}
