//! The log of a Windows service: files of bounded size, and errors in the event log of Windows too, where
//! whoever watches servers looks.

use std::fmt::{self, Write};
use std::path::Path;

use mailmend_agent::host::windows::{Reporter, Severity};
use mailmend_telemetry::log::LogFormat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::Common;
use super::failure::Failure;
use super::log_file::LogFile;

/// The number of an event whose text has no code of its own. One that has a code has its number: A012 is 12.
const NO_CODE: u32 = 1000;

/// Sends the log there from now on.
pub(super) fn begin(common: &Common, service: &str, folder: &Path) -> Result<(), Failure> {
    let (filter, format) = common.logged()?;
    let file = LogFile::open(folder, service).map_err(|why| {
        Failure::failed(format!(
            "A134-log-unwritable: the log in `{}` cannot be written: {why}",
            folder.display()
        ))
    })?;
    // One log for the life of the process.
    let file: &'static LogFile = Box::leak(Box::new(file));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || file)
        .with_ansi(false)
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let told = Reporter::open(service).map(Told);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(told.as_ref().is_ok().then_some(()).and(told.ok()))
        .init();
    Ok(())
}

/// The event log of Windows.
struct Told(Reporter);

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let severity = match *event.metadata().level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warning,
            _ => return,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let text = text.0.trim();
        // Where the event log is full there is still the file.
        let _ = self.0.report(severity, number(text), text);
    }
}

/// The number that the first code of a text has.
fn number(text: &str) -> u32 {
    let code = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .find(|word| mailmend_agent::faults::remedy(word).is_some());
    code.and_then(|code| code.get(1..4)?.parse().ok())
        .unwrap_or(NO_CODE)
}

/// The message first, then its fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text does not fail.
        let _ = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?} {rest}")
        } else {
            write!(self.0, "{}={value:?} ", field.name())
        };
    }
}
