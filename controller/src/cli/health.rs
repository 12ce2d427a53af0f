//! `mailmend health`: whether the controller works, for whoever looks and for scripts.

use serde::Serialize;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connection::Controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use crate::config::Settings;

#[derive(Debug, Serialize)]
struct HealthView {
    serving: bool,
}

pub(super) async fn run(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let controller = Controller::from_settings(settings)?;
    let channel = controller.channel();
    let answer = controller
        .ask(
            "ask how the controller is",
            HealthCheckRequest::default(),
            |_, request| async move { HealthClient::new(channel).check(request).await },
        )
        .await?;
    let serving = answer.status() == ServingStatus::Serving;
    output.answer(&HealthView { serving }, |_| {
        let told = if serving {
            "the controller serves\n"
        } else {
            "the controller does not serve: its store or what decides does not work; its log says more\n"
        };
        told.to_owned()
    })?;
    Ok(if serving {
        Exit::Success
    } else {
        Exit::Failure
    })
}
