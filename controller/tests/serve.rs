//! A real controller process, and the command line against it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mailmend::clock::Clock;
use mailmend::enrol::Authority;
use mailmend_proto::wire;
use mailmend_proto::wire::enrolment_client::EnrolmentClient;
use serde_json::Value;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

struct Controller {
    folder: tempfile::TempDir,
    child: Child,
    address: String,
}

fn mailmend() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailmend"));
    let kept: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| name == "PATH")
        .collect();
    command
        .env_clear()
        .envs(kept)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(Stdio::null());
    command
}

fn serve(data: &Path, listen: &str, ready: Option<&Path>) -> Command {
    let mut command = mailmend();
    command
        .args(["serve", "--listen", listen, "--data"])
        .arg(data);
    if let Some(ready) = ready {
        command.arg("--ready-file").arg(ready);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Controller {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(folder: tempfile::TempDir) -> Self {
        let ready = folder.path().join("ready");
        let mut child = serve(&folder.path().join("data"), "127.0.0.1:0", Some(&ready))
            .spawn()
            .unwrap();
        let began = Instant::now();
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(&ready) {
                break address.trim().to_owned();
            }
            assert!(
                child.try_wait().unwrap().is_none(),
                "the controller ended at its start"
            );
            assert!(began.elapsed() < Duration::from_secs(30), "no ready file");
            std::thread::yield_now();
        };
        Self {
            folder,
            child,
            address,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run_as(&self, identity: &Path, arguments: &[&str]) -> Output {
        mailmend()
            .args(arguments)
            .args([
                "--controller",
                &format!("https://{}", self.address),
                "--identity",
            ])
            .arg(identity)
            .output()
            .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_as(&self.data().join("operator"), arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(code(&ended), 0, "{arguments:?}: {}", stderr(&ended));
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    fn terminate(mut self) -> (tempfile::TempDir, i32) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let code = self.child.wait().unwrap().code().unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        (folder, code)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn now_ms() -> i64 {
    Clock::system().now_ms()
}

/// An identity folder that holds an agent's certificate.
fn agents_identity(authority: &Authority, folder: &Path) -> PathBuf {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let issued = authority
        .issue(
            &mailmend::trust::Named::Agent("SRV-B".parse().unwrap()),
            &csr,
            now_ms(),
            Duration::from_secs(600),
        )
        .unwrap();
    let identity = folder.join("as-agent");
    std::fs::create_dir(&identity).unwrap();
    std::fs::write(identity.join("operator.pem"), issued.certificate_pem).unwrap();
    std::fs::write(identity.join("operator.key"), key.serialize_pem()).unwrap();
    std::fs::write(identity.join("ca.pem"), authority.ca_pem()).unwrap();
    identity
}

#[test]
fn a_policy_is_published_listed_and_shown_byte_for_byte() {
    let controller = Controller::start();
    let ended = controller.run(&["policy", "publish", "--shipped", "stuck-outbound-routing"]);
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    let listed = controller.json(&["policy", "list"]);
    assert_eq!(listed["policies"][0]["name"], "stuck-outbound-routing");
    assert_eq!(listed["policies"][0]["article"], "Q268494");
    assert_eq!(listed["policies"][0]["digest"].as_str().unwrap().len(), 64);
    let shown = controller.run(&["policy", "show", "stuck-outbound-routing@1"]);
    let shipped = mailmend_policy::library::find("stuck-outbound-routing").unwrap();
    assert_eq!(shown.stdout, shipped.bytes());
    let missing = controller.run(&["policy", "show", "stuck-outbound-routing@7"]);
    assert_eq!(code(&missing), 1, "{}", stderr(&missing));
}

#[test]
fn every_listing_is_json_even_when_it_is_empty() {
    let controller = Controller::start();
    for (arguments, key) in [
        (&["policy", "list"][..], "policies"),
        (&["agent", "list"], "agents"),
        (&["rollout", "list"], "rollouts"),
        (&["ledger", "list"], "entries"),
        (&["policy", "bindings"], "bindings"),
        (&["fleet", "symptoms"], "symptoms"),
        (&["fleet", "symptoms", "--all"], "symptoms"),
        (&["proposal", "list"], "proposals"),
        (&["proposal", "list", "--all"], "proposals"),
    ] {
        let value = controller.json(arguments);
        assert_eq!(value[key].as_array().unwrap().len(), 0, "{arguments:?}");
        let ended = controller.run(arguments);
        assert_eq!(code(&ended), 0);
        assert!(stderr(&ended).is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_does_not_exist_ends_with_one_and_what_makes_no_sense_with_two() {
    let controller = Controller::start();
    for (arguments, expected) in [
        (&["rollout", "show", "abcdef"][..], 1),
        (&["run", "show", "abcdef"], 1),
        (&["agent", "show", "SRV-B"], 1),
        (&["policy", "show", "no-such-policy"], 1),
        (&["rollout", "plan", "no-such-policy", "-l", "site"], 1),
        (&["rollout", "plan", "stuck-outbound-routing", "-l", ""], 1),
        (&["agent", "token", "SRV B", "--site", "oslo"], 2),
        (
            &["agent", "token", "SRV-B", "--site", "oslo", "--valid", "1s"],
            2,
        ),
        (&["agent", "list", "-l", "site in ("], 2),
        (&["agent", "in-hand", "SRV-B", "--why", "new disk"], 1),
        (&["agent", "give-back", "SRV-B"], 1),
        (&["policy", "bind", "no-such-policy", "observe"], 1),
        (&["policy", "unbind", "no-such-policy"], 1),
        (&["fleet", "symptoms", "-l", "site in ("], 2),
        (&["proposal", "start", "abcdef"], 1),
        (&["proposal", "refuse", "abcdef"], 1),
    ] {
        let ended = controller.run(arguments);
        let said = stderr(&ended);
        assert_eq!(code(&ended), expected, "{arguments:?}: {said}");
        assert!(said.starts_with("error[C"), "{arguments:?}: {said}");
        assert!(ended.stdout.is_empty(), "{arguments:?}");
    }
    let unpublished = controller.run(&["rollout", "start", "stuck-outbound-routing", "-l", "site"]);
    assert!(stderr(&unpublished).contains("policy publish --shipped stuck-outbound-routing"));
}

#[test]
fn a_binding_outlives_the_controller_and_binding_again_replaces_it() {
    const POLICY: &str = "stuck-outbound-routing";
    let controller = Controller::start();
    controller.json(&["policy", "publish", "--shipped", POLICY]);
    let bound = controller.json(&[
        "policy",
        "bind",
        POLICY,
        "auto",
        "--per-server-per-day",
        "1",
    ]);
    assert_eq!(
        (
            &bound["reaction"],
            &bound["per_server_per_day"],
            &bound["settle_seconds"]
        ),
        (&"auto".into(), &1.into(), &1800.into())
    );
    let ended = controller.run(&["policy", "bind", POLICY, "propose", "-l", "site=oslo"]);
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(said.contains("is bound as propose"), "{said}");
    let (folder, _) = controller.terminate();
    let controller = Controller::start_in(folder);
    let bindings = controller.json(&["policy", "bindings"]);
    assert_eq!(bindings["bindings"].as_array().unwrap().len(), 1);
    let binding = &bindings["bindings"][0];
    assert_eq!(
        (
            &binding["reaction"],
            &binding["selector"],
            &binding["per_server_per_day"]
        ),
        (&"propose".into(), &"site=oslo".into(), &2.into())
    );
    for arguments in [
        &["policy", "bind", POLICY, "sometimes"][..],
        &["policy", "bind", POLICY, "auto", "--at-once", "0"],
        &["policy", "bind", POLICY, "auto", "--settle", "10ms"],
        &["agent", "in-hand", "SRV-B"],
    ] {
        assert_eq!(code(&controller.run(arguments)), 2, "{arguments:?}");
    }
    assert_eq!(
        controller.json(&["policy", "unbind", POLICY])["reaction"],
        "unbound"
    );
    let none = controller.json(&["policy", "bindings"]);
    assert_eq!(none["bindings"].as_array().unwrap().len(), 0);
}

#[test]
fn an_agents_certificate_opens_no_operators_call() {
    let controller = Controller::start();
    let authority = Authority::open_or_create(&controller.data(), now_ms()).unwrap();
    let identity = agents_identity(&authority, controller.folder.path());
    let ended = controller.run_as(&identity, &["agent", "list"]);
    assert_eq!(code(&ended), 6);
    assert!(
        stderr(&ended).starts_with("error[C024-not-permitted]"),
        "{}",
        stderr(&ended)
    );
}

#[test]
fn an_identity_of_another_controller_is_told_from_a_controller_of_another_authority() {
    let controller = Controller::start();
    let foreign = tempfile::tempdir().unwrap();
    let other = Authority::open_or_create(foreign.path(), now_ms()).unwrap();
    let identity = other.operator_folder(now_ms()).unwrap();
    let ended = controller.run_as(&identity, &["agent", "list"]);
    assert_eq!(code(&ended), 6);
    assert!(
        stderr(&ended).starts_with("error[C022-not-our-controller]"),
        "{}",
        stderr(&ended)
    );
    // It trusts our controller, but its own certificate is foreign.
    std::fs::copy(controller.data().join("ca.pem"), identity.join("ca.pem")).unwrap();
    let ended = controller.run_as(&identity, &["agent", "list"]);
    assert_eq!(code(&ended), 6);
    assert!(
        stderr(&ended).starts_with("error[C021-unauthenticated]"),
        "{}",
        stderr(&ended)
    );
    std::fs::write(identity.join("operator.key"), "noise").unwrap();
    let ended = controller.run_as(&identity, &["agent", "list"]);
    assert_eq!(code(&ended), 6);
    assert!(
        stderr(&ended).starts_with("error[C023-identity]"),
        "{}",
        stderr(&ended)
    );
}

#[test]
fn a_second_controller_on_the_port_or_the_data_is_told_and_disturbs_nobody() {
    let controller = Controller::start();
    let other = tempfile::tempdir().unwrap();
    let ended = serve(&other.path().join("data"), &controller.address, None)
        .output()
        .unwrap();
    assert_eq!(code(&ended), 1);
    let said = stderr(&ended);
    assert!(
        said.contains("error[C010-address-taken]") && said.contains(&controller.address),
        "{said}"
    );
    assert!(
        said.contains("help: ") && said.contains("--listen"),
        "{said}"
    );
    let ended = serve(&controller.data(), "127.0.0.1:0", None)
        .output()
        .unwrap();
    assert_eq!(code(&ended), 1);
    assert!(
        stderr(&ended).contains("error[C101-store-locked]"),
        "{}",
        stderr(&ended)
    );
    assert_eq!(code(&controller.run(&["agent", "list"])), 0);
}

#[test]
fn a_data_folder_that_cannot_be_made_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ended = serve(&file.join("data"), "127.0.0.1:0", None)
        .output()
        .unwrap();
    assert_eq!(code(&ended), 1);
    let said = stderr(&ended);
    assert!(
        said.contains("error[C002-data-folder]") && said.contains("file/data"),
        "{said}"
    );
}

#[test]
fn sigterm_ends_it_in_order_and_the_next_start_knows_what_was_stored() {
    let controller = Controller::start();
    let ended = controller.run(&["policy", "publish", "--shipped", "stuck-outbound-routing"]);
    assert_eq!(code(&ended), 0);
    let identity = std::fs::read(controller.data().join("operator/operator.pem")).unwrap();
    let (folder, code) = controller.terminate();
    assert_eq!(code, 0);
    assert!(
        !folder.path().join("ready").exists(),
        "nobody is ready any more"
    );
    let again = Controller::start_in(folder);
    assert_eq!(
        again.json(&["policy", "list"])["policies"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        std::fs::read(again.data().join("operator/operator.pem")).unwrap(),
        identity
    );
}

#[test]
fn a_hundred_enrolments_race_for_one_token_and_one_wins() {
    let controller = Controller::start();
    let made = controller.json(&["agent", "token", "SRV-B", "--site", "oslo"]);
    let token = made["token"].as_str().unwrap().to_owned();
    let ca = made["ca_pem"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let answers = runtime.block_on(async {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let csr_pem = request.pem().unwrap();
        let mut racing = tokio::task::JoinSet::new();
        for at in 0..100 {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&ca))
                .domain_name("mailmend-controller");
            let endpoint =
                Endpoint::from_shared(format!("https://{}", controller.address)).unwrap();
            let mut client = EnrolmentClient::new(endpoint.tls_config(tls).unwrap().connect_lazy());
            // Some ask for another name than the token was made for.
            let name = if at % 10 == 0 { "SRV-C" } else { "SRV-B" }.to_owned();
            let request = wire::EnrolRequest {
                token: token.clone(),
                name,
                csr_pem: csr_pem.clone(),
            };
            racing.spawn(async move { client.enrol(request).await });
        }
        racing.join_all().await
    });
    let won: Vec<_> = answers.iter().filter(|answer| answer.is_ok()).collect();
    assert_eq!(won.len(), 1);
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
    }
    let agents = controller.json(&["agent", "list"]);
    assert_eq!(agents["agents"].as_array().unwrap().len(), 1);
    assert_eq!(agents["agents"][0]["name"], "SRV-B");
}

#[test]
fn the_doctor_tells_that_all_is_well_and_what_is_wrong_here_where_nobody_answers() {
    let controller = Controller::start();
    let well = controller.json(&["doctor"]);
    assert_eq!(well["overdue"], 0);
    assert_eq!(well["findings"].as_array().unwrap().len(), 0, "{well}");
    assert_eq!(well["controller"]["agents"], 0);
    assert!(well["controller"]["schema"].as_i64().unwrap() >= 35);
    assert!(
        well["local"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["good"] == true),
        "{well}"
    );
    let text = String::from_utf8(controller.run(&["doctor"]).stdout).unwrap();
    assert!(text.contains("nothing is overdue"), "{text}");

    // Its identity is good, and nobody listens any more.
    let address = controller.address.clone();
    let (folder, _) = controller.terminate();
    let identity = folder.path().join("data").join("operator");
    let ended = mailmend()
        .args(["doctor", "-o", "json", "--controller"])
        .arg(format!("https://{address}"))
        .arg("--identity")
        .arg(&identity)
        .output()
        .unwrap();
    assert_eq!(code(&ended), 6, "{}", stderr(&ended));
    let found: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(found["controller"], Value::Null);
    assert_eq!(found["local"][2]["name"], "certificate");
    assert_eq!(found["local"][2]["good"], true);
    assert!(
        stderr(&ended).contains("C020-unreachable"),
        "{}",
        stderr(&ended)
    );

    let ended = mailmend()
        .args(["doctor", "--identity", "/nonexistent"])
        .output()
        .unwrap();
    assert_eq!(code(&ended), 6);
    let text = String::from_utf8(ended.stdout.clone()).unwrap();
    assert!(text.contains("/nonexistent/operator.pem"), "{text}");
    assert!(
        stderr(&ended).contains("C023-identity"),
        "{}",
        stderr(&ended)
    );
}

#[test]
fn metrics_are_told_where_the_setting_says_so() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let mut child = serve(&folder.path().join("data"), "127.0.0.1:0", None)
        .args(["--metrics-listen", "0"])
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let address = log.lines().find_map(|line| {
        let line = line.unwrap();
        let (_, rest) = line.split_once("metrics: http://")?;
        Some(rest.trim_end_matches("/metrics").to_owned())
    });
    let answer = address.map(|address| {
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let answer = answer.expect("the log tells the address");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("mailmend_build_info{version="), "{answer}");
    assert!(
        answer.contains("mailmend_overdue{kind=\"held\"} 0"),
        "{answer}"
    );
}

#[test]
fn the_log_is_one_object_a_line_where_that_is_asked_for() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut child = serve(&folder.path().join("data"), "127.0.0.1:0", None)
        .args(["--log-format", "json"])
        .env("MAILMEND_LOG", "warn,mailmend::cli=info")
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut lines = Vec::new();
    for line in log.lines() {
        let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let message = told["fields"]["message"].as_str().unwrap().to_owned();
        let last = message.starts_with("operators: ");
        lines.push(told);
        if last {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!lines.is_empty());
    for told in lines {
        assert_eq!(told["level"], "INFO", "{told}");
        assert_eq!(
            told["target"], "mailmend::cli::serve",
            "the filter holds: {told}"
        );
        assert!(told["timestamp"].as_str().unwrap().ends_with('Z'), "{told}");
    }
}

/// The controller's door for whoever has this certificate and key.
fn channel(controller: &Controller, identity: Option<&Path>) -> tonic::transport::Channel {
    let ca = std::fs::read(controller.data().join("ca.pem")).unwrap();
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .domain_name("mailmend-controller");
    if let Some(folder) = identity {
        let read = |file| std::fs::read(folder.join(file)).unwrap();
        let own = tonic::transport::Identity::from_pem(read("operator.pem"), read("operator.key"));
        tls = tls.identity(own);
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", controller.address)).unwrap();
    endpoint.tls_config(tls).unwrap().connect_lazy()
}

#[test]
fn health_is_told_to_certificates_and_what_there_is_to_call_to_operators() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let controller = Controller::start();
    let authority = Authority::open_or_create(&controller.data(), now_ms()).unwrap();
    let agent = agents_identity(&authority, controller.folder.path());
    let operator = controller.data().join("operator");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for (identity, expected) in [
            (None, Err(tonic::Code::Unauthenticated)),
            (Some(agent.as_path()), Ok(())),
            (Some(operator.as_path()), Ok(())),
        ] {
            for service in ["", "mailmend.v1.Agents", "mailmend.v1.Operator"] {
                let mut client = HealthClient::new(channel(&controller, identity));
                let request = HealthCheckRequest {
                    service: service.to_owned(),
                };
                let answer = client.check(request).await;
                let status = answer.map(|answer| answer.into_inner().status());
                match expected {
                    Ok(()) => assert_eq!(status.unwrap(), ServingStatus::Serving, "{service}"),
                    Err(code) => assert_eq!(status.unwrap_err().code(), code, "{service}"),
                }
            }
        }
        for (identity, expected) in [
            (None, Some(tonic::Code::Unauthenticated)),
            (Some(agent.as_path()), Some(tonic::Code::PermissionDenied)),
            (Some(operator.as_path()), None),
        ] {
            let mut client = ServerReflectionClient::new(channel(&controller, identity));
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let answer = client
                .server_reflection_info(tokio_stream::iter([request]))
                .await;
            let Some(code) = expected else {
                let first = answer
                    .unwrap()
                    .into_inner()
                    .message()
                    .await
                    .unwrap()
                    .unwrap();
                let Some(MessageResponse::ListServicesResponse(listed)) = first.message_response
                else {
                    panic!("no list of services");
                };
                let names: Vec<_> = listed.service.into_iter().map(|one| one.name).collect();
                for name in [
                    "mailmend.v1.Agents",
                    "mailmend.v1.Operator",
                    "grpc.health.v1.Health",
                ] {
                    assert!(names.iter().any(|one| one == name), "{names:?}");
                }
                continue;
            };
            assert_eq!(answer.unwrap_err().code(), code);
        }
    });
    let ended = controller.run(&["health"]);
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert_eq!(controller.json(&["health"])["serving"], true);
    let (_folder, code) = controller.terminate();
    assert_eq!(code, 0);
}
