//! Paths in policies: a folder of Exchange and the parts below it, never a way out of it.

use crate::condition::{PathRoot, PathTemplate};
use crate::fault::{FaultCode, Sink};

use super::reader::Located;

/// The variables that a path may begin with.
pub(crate) const ROOTS: [(&str, PathRoot); 4] = [
    ("imcdata", PathRoot::Imcdata),
    ("mtadata", PathRoot::Mtadata),
    ("trackinglog", PathRoot::Trackinglog),
    ("exchsrvr", PathRoot::Exchsrvr),
];

/// Names that Windows takes for devices, whatever their extension.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$"];

/// Reads a path; `bare` allows the folder itself.
pub(crate) fn path(
    text: &Located<&str>,
    key: &str,
    bare: bool,
    sink: &Sink,
) -> Option<PathTemplate> {
    let refuse = |message: String, hint: &str| {
        sink.hinted(
            FaultCode::BadPath,
            &text.span,
            format!("`{key}`: {message}"),
            hint,
        );
        None
    };
    let shown = text.value.escape_debug();
    let Some((variable, rest)) = text
        .value
        .strip_prefix("${")
        .and_then(|rest| rest.split_once('}'))
    else {
        return refuse(
            format!("the path `{shown}` does not begin with a variable"),
            "begin with ${imcdata}, ${mtadata}, ${trackinglog} or ${exchsrvr}: drives differ from server to server",
        );
    };
    let Some((_, root)) = ROOTS.iter().find(|(name, _)| *name == variable) else {
        let hint = super::words::did_you_mean(variable, ROOTS.iter().map(|(name, _)| *name))
            .unwrap_or_else(|| {
                "it is one of ${imcdata}, ${mtadata}, ${trackinglog} and ${exchsrvr}".to_owned()
            });
        return refuse(
            format!("there is no variable `${{{}}}`", variable.escape_debug()),
            &hint,
        );
    };
    if rest.is_empty() && bare {
        return Some(PathTemplate {
            root: *root,
            parts: Vec::new(),
        });
    }
    let Some(below) = rest.strip_prefix('/').filter(|below| !below.is_empty()) else {
        return refuse(
            format!("the path `{shown}` names nothing below its folder"),
            "write a `/` and a name after the variable, such as ${imcdata}/Log/Route.txt",
        );
    };
    if below.len() > 240 {
        return refuse(
            "the path has more than 240 characters".to_owned(),
            "write a shorter path",
        );
    }
    for part in below.split('/') {
        if let Some(why) = refused_part(part) {
            return refuse(
                format!("the part `{}` of the path {why}", part.escape_debug()),
                "write plain names with `/` between them",
            );
        }
    }
    Some(PathTemplate {
        root: *root,
        parts: below.split('/').map(str::to_owned).collect(),
    })
}

/// Why a part of a path is refused. The rules are those of Windows, on every system, so that a policy
/// means the same everywhere.
fn refused_part(part: &str) -> Option<&'static str> {
    let stem = part.split('.').next().unwrap_or(part).trim_end();
    let numbered = |port: &str| {
        stem.len() == 4
            && stem
                .get(..3)
                .is_some_and(|start| start.eq_ignore_ascii_case(port))
            && stem.ends_with(|c: char| c.is_ascii_digit())
    };
    if part.is_empty() {
        Some("is empty")
    } else if part == "." || part == ".." {
        Some("leads out of its folder")
    } else if part.contains('\\') {
        Some("has a backslash")
    } else if part.contains(':') {
        Some("has a colon (a drive or an alternate stream)")
    } else if part.contains(['<', '>', '"', '|', '?', '*']) {
        Some("has a character that no file name has, or a wildcard")
    } else if !part.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        Some("has a character that is not plain ASCII")
    } else if part.ends_with(['.', ' ']) || part.starts_with(' ') {
        Some("begins or ends with a space, or ends with a dot, which Windows drops")
    } else if DEVICES
        .iter()
        .any(|device| stem.eq_ignore_ascii_case(device))
        || numbered("COM")
        || numbered("LPT")
    {
        Some("is the name of a device")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_taken_and_ways_out_are_refused() {
        let sink = Sink::default();
        let read = |value: &'static str| path(&Located { value, span: 0..1 }, "file", false, &sink);
        let good = read("${imcdata}/Log/Route.txt").unwrap();
        assert_eq!(good.to_string(), "${imcdata}/Log/Route.txt");
        assert!(read("${mtadata}/GWART0.MTA").is_some());
        for bad in [
            "",
            "C:/exchsrvr/imcdata",
            "/etc/passwd",
            "${home}/x",
            "${imcdata}",
            "${imcdata}/",
            "${imcdata}x/y",
            "${imcdata}/../x",
            "${imcdata}/./x",
            "${imcdata}/a//b",
            "${imcdata}/In\\x",
            "${imcdata}/x:stream",
            "${imcdata}/*.dat",
            "${imcdata}/nul",
            "${imcdata}/NUL.txt",
            "${imcdata}/com1",
            "${imcdata}/lpt9.log",
            "${imcdata}/x.",
            "${imcdata}/x ",
            "${imcdata}/\u{fc}",
            "${imcdata",
            "$imcdata/x",
        ] {
            let before = sink.count();
            assert!(read(bad).is_none(), "{bad}");
            assert_eq!(sink.count(), before + 1, "{bad}");
        }
    }
}
