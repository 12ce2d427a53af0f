//! `mailmend config`: every setting with its origin.

use serde::Serialize;

use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use crate::config::Settings;

#[derive(Debug, Serialize)]
struct SettingView<'a> {
    name: &'a str,
    value: &'a str,
    origin: String,
    about: &'a str,
}

pub(super) fn show(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let views: Vec<SettingView<'_>> = settings
        .all()
        .iter()
        .map(|setting| SettingView {
            name: setting.name,
            value: &setting.value,
            origin: setting.origin.to_string(),
            about: setting.about,
        })
        .collect();
    output.answer(&serde_json::json!({ "settings": views }), |output| {
        let rows = views.iter().map(|view| {
            vec![
                view.name.into(),
                view.value.into(),
                (&view.origin).into(),
                view.about.into(),
            ]
        });
        output.table(
            &["SETTING", "VALUE", "FROM", "WHAT IT IS"],
            rows.collect(),
            "no settings",
        )
    })?;
    Ok(Exit::Success)
}
