//! Enrolment and what can go wrong on the way to the controller.

use std::path::Path;

use super::controller::{Authority, Controller, enrolled};
use crate::connection::{ConnectionError, dial};
use crate::enrol::{EnrolError, Enrolment, enrol};
use crate::identity::{CERTIFICATE, Identity, KEY};

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

async fn try_enrol(
    controller: &Controller,
    data: &Path,
    ca_file: &Path,
    token: &str,
    again: bool,
) -> Result<(), EnrolError> {
    let name = "SRVB".parse().unwrap();
    let enrolment = Enrolment {
        address: &controller.address,
        data,
        name: &name,
        token,
        ca_file,
        again,
        now_ms: now_ms(),
    };
    enrol(enrolment).await.map(|_| ())
}

#[tokio::test]
async fn a_token_becomes_a_certificate_once_and_the_key_stays() {
    let controller = Controller::new().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ca_file = controller.ca_file(folder.path());
    try_enrol(&controller, &data, &ca_file, "good", false)
        .await
        .unwrap();
    let name = "SRVB".parse().unwrap();
    Identity::load(&data, &name, now_ms()).unwrap();
    let key = std::fs::read(data.join(KEY)).unwrap();
    let certificate = std::fs::read(data.join(CERTIFICATE)).unwrap();

    let again = try_enrol(&controller, &data, &ca_file, "good", false).await;
    assert!(matches!(again, Err(EnrolError::Already { .. })));
    let used = try_enrol(&controller, &data, &ca_file, "good", true)
        .await
        .unwrap_err();
    assert!(used.to_string().starts_with("A015-token-refused"), "{used}");
    assert_eq!(std::fs::read(data.join(KEY)).unwrap(), key);
    assert_eq!(std::fs::read(data.join(CERTIFICATE)).unwrap(), certificate);
}

#[tokio::test]
async fn a_controller_of_another_authority_is_not_told_the_token() {
    let controller = Controller::new().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ca_file = folder.path().join("other.pem");
    std::fs::write(&ca_file, Authority::new().pem).unwrap();
    let error = try_enrol(&controller, &data, &ca_file, "good", false)
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("A026-controller-untrusted"),
        "{error}"
    );
    // The token still works, so it was never sent.
    let ca_file = controller.ca_file(folder.path());
    try_enrol(&controller, &data, &ca_file, "good", false)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_authority_that_is_none_is_told_before_anything_is_made() {
    let controller = Controller::new().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ca_file = folder.path().join("ca.pem");
    for text in [
        "",
        "noise",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&ca_file, text).unwrap();
        let error = try_enrol(&controller, &data, &ca_file, "good", false)
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("A016-authority-unreadable"),
            "{error}"
        );
    }
    assert!(!data.exists());
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_yet_is_told_with_what_the_clock_reads() {
    let controller = Controller::with((2, 30)).await;
    let ca = &controller.authority.pem;
    let error = dial(&controller.address, ca, None, 315_532_800_000)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ConnectionError::Clock { .. }), "{text}");
    assert!(text.contains("1980-01-01T00:00:00Z"), "{text}");
}

#[tokio::test]
async fn a_controller_that_does_not_listen_is_unreachable() {
    let address = {
        let controller = Controller::new().await;
        controller.address.clone()
    };
    // Nothing else takes the port so soon; the loop waits for the listener's end.
    let ca = Authority::new().pem;
    let error = loop {
        let error = dial(&address, &ca, None, 0).await.unwrap_err();
        if !matches!(error, ConnectionError::Untrusted { .. }) {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert!(
        error.to_string().starts_with("A025-controller-unreachable"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_the_controller() {
    use mailmend_proto::wire;
    use mailmend_proto::wire::agents_client::AgentsClient;

    let controller = Controller::new().await;
    let folder = tempfile::tempdir().unwrap();
    enrolled(&Authority::new(), folder.path(), (-1, 30));
    let name = "SRVB".parse().unwrap();
    let identity = Identity::load(folder.path(), &name, now_ms()).unwrap();
    let ca = &controller.authority.pem;
    // In TLS 1.3 the refusal comes with the first call at the latest.
    let error = match dial(&controller.address, ca, Some(&identity), now_ms()).await {
        Err(error) => error,
        Ok(channel) => {
            let call = AgentsClient::new(channel)
                .renew(wire::RenewRequest::default())
                .await;
            crate::connection::of_status(&controller.address, &call.unwrap_err(), now_ms())
        }
    };
    let text = error.to_string();
    assert!(
        text.starts_with("A027-controller-refuses") || text.starts_with("A025"),
        "{text}"
    );
}
