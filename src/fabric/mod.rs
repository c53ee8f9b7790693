//! What surrounds the images: nodes, network, launch script.
