use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::clock::Clock;
use crate::store::Store;

async fn controller(folder: &std::path::Path) -> Controller {
    let store = Store::open(&folder.join("controller.db")).await.unwrap();
    Controller::start(store, Clock::of(|| 1_780_000_000_000))
}

/// What the server answers to a request, head and body.
async fn asked(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_collector_gets_metrics_by_http_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let controller = controller(folder.path()).await;
    let metrics = Metrics::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = metrics.address();
    let serving = tokio::spawn(metrics.serve(controller.clone(), Duration::from_secs(86_400)));

    let answer = asked(address, "GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(CONTENT_TYPE), "{answer}");
    assert!(answer.contains("\nmailmend_agents_known 0\n"), "{answer}");
    assert!(
        answer.contains("\nmailmend_rollouts{state=\"running\"} 0\n"),
        "{answer}"
    );
    assert!(answer.trim_end().ends_with("# EOF"), "{answer}");

    let answer = asked(address, "GET /").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer = asked(address, "POST /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");

    // It ends with the controller, also while somebody is connected and says nothing.
    let idle = TcpStream::connect(address).await.unwrap();
    controller.stop().await;
    serving.await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_no_empty_answer() {
    let folder = tempfile::tempdir().unwrap();
    let controller = controller(folder.path()).await;
    controller.store().close().await;
    let request = Request::builder().uri("/metrics").body(()).unwrap();
    let answer = answer(&request, &controller, Duration::from_secs(86_400)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_place_is_off_a_port_on_this_machine_or_an_address() {
    let place = |text: &str| text.parse::<Place>().map(|place| place.0);
    assert_eq!(place("off"), Ok(None));
    assert_eq!(place(""), Ok(None));
    assert_eq!(place("9268"), Ok(Some("127.0.0.1:9268".parse().unwrap())));
    assert_eq!(place("[::1]:1"), Ok(Some("[::1]:1".parse().unwrap())));
    assert_eq!(
        place("10.0.0.5:9268"),
        Ok(Some("10.0.0.5:9268".parse().unwrap()))
    );
    assert_eq!(place("on"), Err(NoPlace));
    assert_eq!(place("99999"), Err(NoPlace));
}
