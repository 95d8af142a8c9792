//! What answers an instance: the listeners of its jail are put to work, each with a task of the
//! instance's.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use engine::port::LogSink;
use model::{FunctionConfig, Network};
use store::Clock;
use tokio::sync::Semaphore;

use super::{Endpoint, InstanceIdentity, Processes};
use crate::contract::lambda::environment::{Around, Trusted};
use crate::egress::{Egress, Reach};
use crate::host::Isolation;
use crate::host_ports::HostPort;
use crate::instance::Tasks;
use crate::refusals::Refusals;
use crate::resolver::{CloudHosts, Resolver};
use crate::spawner::Doors;
use crate::told::Told;

/// Connections that one instance may have to the endpoint at once (ours: clients of the platform
/// keep fewer than 50). Without a limit one function could use up the server's.
const ENDPOINT_CONNECTIONS_MAX: usize = 64;

impl Processes {
    /// What the environment of an instance says of the platform.
    pub(super) fn around(&self, config: &FunctionConfig) -> Around {
        // Without a jail names are this host's, and so is loopback.
        let lite = self.config.spawner.host().isolation == Isolation::Lite;
        Around {
            endpoint: format!("http://127.0.0.1:{}", self.config.endpoint_port),
            cloud: if lite || self.reach_of(config) == Reach::Nowhere {
                CloudHosts::Home
            } else {
                self.config.cloud
            },
            trusted: if lite {
                Trusted::Nothing
            } else {
                self.config.spawner.trusted()
            },
        }
    }

    /// What this one can reach.
    fn reach_of(&self, config: &FunctionConfig) -> Reach {
        match config.network {
            Network::Outside => self.config.reach,
            Network::PlatformOnly => Reach::Nowhere,
        }
    }

    /// Answers at all doors of an instance but its Runtime API, which is handed back.
    pub(super) fn open_doors(
        &self,
        (log, config): (&Arc<dyn LogSink>, &FunctionConfig),
        doors: Doors,
        identity: InstanceIdentity,
        tasks: &mut Tasks,
    ) -> TcpListener {
        let (reach, clock) = (self.reach_of(config), &self.config.clock);
        let told = Arc::new(Told::new(Arc::clone(log), Arc::clone(clock)));
        if let Some(listener) = doors.egress {
            let egress = Egress {
                listener,
                reach,
                told: Arc::clone(&told),
                clock: Arc::clone(clock),
            };
            tasks.spawn(egress.run());
        }
        if let (Some(udp), Some(tcp)) = (doors.dns, doors.dns_tcp) {
            let resolver = Resolver {
                udp,
                tcp,
                reach,
                cloud: self.config.cloud,
                lookups: self.lookups.clone(),
                clock: Arc::clone(clock),
            };
            tasks.spawn(resolver.run());
        }
        for listener in doors.host_ports {
            let port = HostPort {
                listener,
                told: Arc::clone(&told),
                clock: Arc::clone(clock),
            };
            tasks.spawn(port.run());
        }
        if let Some(socket) = doors.refusals {
            let refusals = Refusals {
                socket,
                told,
                clock: Arc::clone(clock),
            };
            tasks.spawn(refusals.run());
        }
        let permits = Arc::new(Semaphore::new(ENDPOINT_CONNECTIONS_MAX));
        for listener in doors.home {
            tasks.spawn(serve_endpoint(
                listener,
                identity.clone(),
                Arc::clone(&permits),
                Arc::clone(&self.config.endpoint),
                Arc::clone(clock),
            ));
        }
        doors.runtime_api
    }
}

/// Hands every connection to the endpoint over, with who it comes from. Connections beyond the
/// limit wait in the kernel.
async fn serve_endpoint(
    listener: TcpListener,
    identity: InstanceIdentity,
    permits: Arc<Semaphore>,
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // A lack of descriptors, which passes.
                clock.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Never closed, so it never fails.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let served = endpoint(identity.clone(), stream);
        // Not tied to the instance: what it asked for is done also if it ends meanwhile.
        tokio::spawn(async move {
            served.await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use model::{FunctionId, InstanceId, VersionId};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn an_instance_has_so_many_connections_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let identity = InstanceIdentity {
            instance: InstanceId::from_random([0; 16]),
            function: FunctionId {
                account: "000000000000".parse().unwrap(),
                region: "eu-west-1".parse().unwrap(),
                name: "greet".parse().unwrap(),
            },
            version: VersionId::Latest,
        };
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let endpoint: Endpoint = Arc::new(move |_, _stream| {
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            begun.send(end).unwrap();
            Box::pin(async move {
                let _ = ended.await;
            })
        });
        let clock = Arc::new(store::SystemClock::new());
        let permits = Arc::new(Semaphore::new(ENDPOINT_CONNECTIONS_MAX));
        tokio::spawn(serve_endpoint(listener, identity, permits, endpoint, clock));
        let mut clients = Vec::new();
        for _ in 0..=ENDPOINT_CONNECTIONS_MAX {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let mut served = Vec::new();
        for _ in 0..ENDPOINT_CONNECTIONS_MAX {
            served.push(begins.recv().await.unwrap());
        }
        // On this one thread it would have taken another by now.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(begins.try_recv().is_err());
        served.pop();
        begins.recv().await.unwrap();
    }
}
