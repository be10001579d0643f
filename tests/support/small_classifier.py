"""The text of a small classifier without padding."""

from texts import conv, inputs, layer

CLASSIFIER = (inputs(data=(4, 3, 12, 12)) + conv('c', 'data', num_output=5, kernel=3)
              + layer('ReLU', 'r', 'c', 'c')
              + layer('Pooling', 'p', 'c', 'p', 'pooling_param { kernel_size: 2 stride: 2 }')
              + layer('InnerProduct', 'f', 'p', 'f', 'inner_product_param { num_output: 7 '
                      'weight_filler { type: "gaussian" std: 0.1 } }')
              + layer('ReLU', 'rf', 'f', 'f')
              + layer('InnerProduct', 's', 'f', 's', 'inner_product_param { num_output: 6 '
                      'weight_filler { type: "gaussian" std: 1 } }')
              + layer('Softmax', 'prob', 's', 'prob'))
