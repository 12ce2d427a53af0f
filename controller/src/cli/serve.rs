//! `mailmend serve`: the controller.

use super::arguments::Serve;
use super::exit::Exit;
use super::failure::Failure;
use crate::config::Settings;

pub(super) async fn serve(_arguments: Serve, _settings: &Settings) -> Result<Exit, Failure> {
    Err(Failure::new("C013-stopped", "the services are being built"))
}
