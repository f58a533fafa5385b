"""Raw images to TFRecord shards with ImageNet's keys; nothing here needs TensorFlow."""
