//! The id of machine-id(5).

use fam_plugin::{Context, Node, Scope};

/// 32 hexadecimal digits and a newline, marked as a random UUID (version 4, variant 1) like those
/// that systemd makes.
pub(crate) fn derive(context: &Context, node: &Node) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&context.secret_of(Scope::Node(node.number), "identity/machine-id")[..16]);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    format!("{:032x}\n", u128::from_be_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, node};

    #[test]
    fn looks_like_a_random_uuid() {
        let context = Harness::new().context();
        for number in 1..=50 {
            let id = derive(&context, &node(number));
            assert_eq!(id.len(), 33);
            assert_eq!(&id[12..13], "4", "{id}");
            assert!("89ab".contains(&id[16..17]), "{id}");
        }
    }
}
