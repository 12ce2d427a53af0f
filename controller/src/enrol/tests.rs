use rcgen::{BasicConstraints, IsCa};

use super::certificate::der_of;
use super::*;
use crate::identity::{Peer, identify};

const NOW: i64 = 1_780_000_000_000;

fn request(names: &[&str]) -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::URI((*name).try_into().unwrap()))
        .collect();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, pem)
}

#[test]
fn names_usages_and_validity_of_a_request_are_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), NOW).unwrap();
    let (key, csr) = request(&["mailmend:operator:admin", "mailmend:agent:OTHER"]);
    let issued = authority
        .issue(
            &Named::Agent("SRV-B".parse().unwrap()),
            &csr,
            NOW,
            Duration::from_secs(60),
        )
        .unwrap();
    let der = der_of(&issued.certificate_pem).unwrap();
    let found = identify(&der, NOW).unwrap();
    assert_eq!(found.peer, Peer::Agent("SRV-B".parse().unwrap()));
    assert_eq!(found.serial, issued.serial);
    assert_eq!(found.until_ms, NOW + 60_000);
    assert_eq!(issued.not_after_ms, NOW + 60_000);
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(
        !certificate.is_ca(),
        "a request that asks to be an authority does not become one"
    );
    let usage = certificate.extended_key_usage().unwrap().unwrap();
    assert!(usage.value.client_auth && !usage.value.server_auth);
    assert!(belongs(&issued.certificate_pem, &key).unwrap());
    let again = authority
        .issue(
            &Named::Agent("SRV-B".parse().unwrap()),
            &csr,
            NOW,
            Duration::from_secs(60),
        )
        .unwrap();
    assert_ne!(again.serial, issued.serial);
}

#[test]
fn a_request_that_is_not_signed_by_its_own_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), NOW).unwrap();
    let name = Named::Agent("SRV-B".parse().unwrap());
    for bad in [
        "",
        "noise",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        let fault = authority
            .issue(&name, bad, NOW, AGENT_VALIDITY)
            .unwrap_err();
        assert_eq!(fault.code(), "C007-request-refused", "{bad}");
    }
    let (_, csr) = request(&[]);
    let mut der = der_of(&csr).unwrap();
    let last = der.len() - 3;
    der[last] ^= 1;
    let params = CertificateSigningRequestParams::from_der(&der.into());
    assert!(params.is_err());
}

#[test]
fn the_authority_survives_a_restart_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let first = Authority::open_or_create(folder.path(), NOW).unwrap();
    let server = first.server_certificate(NOW).unwrap();
    let again = Authority::open_or_create(folder.path(), NOW + 1000).unwrap();
    assert_eq!(again.ca_pem(), first.ca_pem());
    assert_eq!(
        again.server_certificate(NOW).unwrap().certificate_pem,
        server.certificate_pem
    );
    assert!(key_file::write_new(&folder.path().join("ca.key"), "other").is_err());
}

#[test]
fn a_certificate_without_its_key_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    Authority::open_or_create(folder.path(), NOW).unwrap();
    std::fs::remove_file(folder.path().join("ca.key")).unwrap();
    let fault = Authority::open_or_create(folder.path(), NOW).unwrap_err();
    assert_eq!(fault.code(), "C003-authority-incomplete");
    assert!(
        !folder.path().join("ca.key").exists(),
        "no new key was made"
    );
}

#[test]
fn a_kill_between_key_and_certificate_is_finished_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    Authority::open_or_create(folder.path(), NOW).unwrap();
    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    let key = std::fs::read(folder.path().join("ca.key")).unwrap();
    Authority::open_or_create(folder.path(), NOW).unwrap();
    assert_eq!(std::fs::read(folder.path().join("ca.key")).unwrap(), key);
}

#[test]
fn a_key_of_another_authority_or_a_damaged_one_is_told() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Authority::open_or_create(one.path(), NOW).unwrap();
    Authority::open_or_create(other.path(), NOW).unwrap();
    let key = std::fs::read_to_string(other.path().join("ca.key")).unwrap();
    key_file::replace(&one.path().join("ca.key"), &key).unwrap();
    let fault = Authority::open_or_create(one.path(), NOW).unwrap_err();
    assert!(fault.to_string().contains("does not belong"), "{fault}");
    key_file::replace(&one.path().join("ca.key"), "noise").unwrap();
    let fault = Authority::open_or_create(one.path(), NOW).unwrap_err();
    assert_eq!(fault.code(), "C005-key-unreadable");
}

#[cfg(unix)]
#[test]
fn keys_are_private_and_an_exposed_one_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), NOW).unwrap();
    authority.server_certificate(NOW).unwrap();
    authority.operator_folder(NOW).unwrap();
    for file in ["ca.key", "server.key", "operator/operator.key"] {
        let mode = std::fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let key = folder.path().join("ca.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let fault = Authority::open_or_create(folder.path(), NOW).unwrap_err();
    assert_eq!(fault.code(), "C004-key-exposed");
    assert!(fault.to_string().contains("640"), "{fault}");
}

#[test]
fn a_clock_in_1980_or_before_the_authority_was_made_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let fault = Authority::open_or_create(folder.path(), 315_532_800_000).unwrap_err();
    assert!(fault.to_string().contains("1980-01-01"), "{fault}");
    assert!(
        !folder.path().join("ca.key").exists(),
        "nothing was made under a wrong clock"
    );
    Authority::open_or_create(folder.path(), NOW).unwrap();
    let fault = Authority::open_or_create(folder.path(), NOW - 86_400_000).unwrap_err();
    assert_eq!(fault.code(), "C001-clock");
}

#[test]
fn the_controllers_certificates_are_made_anew_near_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), NOW).unwrap();
    let first = authority.server_certificate(NOW).unwrap();
    let operator = authority.operator_folder(NOW).unwrap();
    let shown = std::fs::read(operator.join("operator.pem")).unwrap();
    let day = 86_400_000;
    let same = authority.server_certificate(NOW + 59 * day).unwrap();
    assert_eq!(same.certificate_pem, first.certificate_pem);
    let renewed = authority.server_certificate(NOW + 61 * day).unwrap();
    assert_ne!(renewed.certificate_pem, first.certificate_pem);
    authority.operator_folder(NOW + 61 * day).unwrap();
    assert_ne!(std::fs::read(operator.join("operator.pem")).unwrap(), shown);
}
