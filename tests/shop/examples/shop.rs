//! The shop for real: three nodes on loopback, until all orders are done.

use std::error::Error;
use std::time::Duration;

use noex_shop::{Database, shop, worker};
use noex_tokio::ClusterConfig;

const SHOP: &str = "shop@127.0.0.1:47101";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::with_orders(4);
    let config = |name: &str, port| ClusterConfig::new(name).host("127.0.0.1").port(port).seeds([SHOP]);
    let all = async {
        tokio::try_join!(
            shop(config("shop", 47_101), database.clone(), None),
            worker(config("w1", 47_102), SHOP.parse()?, database.clone(), None),
            worker(config("w2", 47_103), SHOP.parse()?, database.clone(), None),
        )
    };
    let done = async {
        while database.done().len() < 4 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        ended = all => drop(ended?),
        () = done => println!("all orders are done: {:?}", database.done()),
    }
    Ok(())
}
