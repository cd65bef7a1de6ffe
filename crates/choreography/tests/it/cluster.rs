//! Provisioning on a cluster of three nats-servers.

use std::path::Path;
use std::time::Duration;

use choreography::Topology;
use choreography::connection::{self, NatsOptions};
use choreography_test::nats::{Routes, find_or_install};
use choreography_test::{NatsServer, free_port};

use crate::support::{TOPOLOGY, eventually};

/// Starts three servers together: each becomes ready only with the others.
async fn start_cluster(data: &Path) -> (Vec<NatsServer>, Vec<u16>) {
    let program = find_or_install(|_| {}).await.unwrap();
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let clients: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let starts = (0..3).map(|number| {
        let others = (0..3).filter(|other| *other != number);
        let others = others.map(|other| format!("nats://127.0.0.1:{}", routes[other])).collect();
        let advertise = format!("127.0.0.1:{}", routes[number]);
        NatsServer::builder(&program)
            .port(clients[number])
            .monitor_port(free_port())
            .store_dir(data.join(format!("nats-{number}")))
            .routes(Routes { cluster: "test".to_owned(), port: routes[number], advertise, others })
            .start()
    });
    (futures::future::try_join_all(starts).await.unwrap(), clients)
}

#[tokio::test]
async fn provisioning_awaits_a_server_of_the_cluster_that_is_starting() {
    let data = std::env::temp_dir().join(format!("choreography-cluster-{}", std::process::id()));
    let (mut servers, ports) = start_cluster(&data).await;
    let url = format!("nats://127.0.0.1:{}", ports[0]);
    let options = NatsOptions { nats_url: url, nats_user: None, nats_password: None };
    let (client, _) = connection::establish(&options, "tester", Duration::from_secs(10)).await.unwrap();
    let js = connection::jetstream(&client);

    // A server that stops announces it, so the others count it as offline at once.
    servers[2].stop().await.unwrap();
    eventually("the cluster has too few peers", || async {
        let config = async_nats::jetstream::stream::Config {
            name: "PROBE".to_owned(),
            num_replicas: 3,
            ..Default::default()
        };
        let created = js.create_stream(config).await.map(drop);
        let _ = js.delete_stream("PROBE").await;
        created.is_err_and(|error| error.to_string().contains("error code 10005"))
    })
    .await;
    let topology = Topology::parse(TOPOLOGY).unwrap();
    let (provisioned, restarted) = tokio::join!(topology.provision(&js, 3), servers[2].restart());
    restarted.unwrap();
    provisioned.unwrap();
    drop(servers);
    std::fs::remove_dir_all(&data).unwrap();
}
