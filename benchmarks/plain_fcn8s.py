"""The peer of fcn8s.py: FCN-8s as one writes it by hand in PyTorch."""

from torch import nn

CLASSES = 21


class Plain(nn.Module):
    """FCN-8s, (1, 3, H, W) -> (1, 21, H, W), as one writes it in PyTorch; names as in Caffe."""

    def __init__(self):
        super().__init__()
        self.to_pool3 = stages(3, [(1, 64, 2), (2, 128, 2), (3, 256, 3)])
        self.to_pool4 = stages(256, [(4, 512, 3)])
        self.to_pool5 = stages(512, [(5, 512, 3)])
        self.fc6, self.fc7 = nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1)
        self.relu = nn.ReLU(inplace=True)
        self.score_fr = nn.Conv2d(4096, CLASSES, 1)
        self.score_pool4 = nn.Conv2d(512, CLASSES, 1)
        self.score_pool3 = nn.Conv2d(256, CLASSES, 1)
        self.upscore2, self.upscore_pool4, self.upscore8 = (
            nn.ConvTranspose2d(CLASSES, CLASSES, kernel, stride, bias=False).requires_grad_(False)
            for kernel, stride in [(4, 2), (4, 2), (16, 8)])

    def forward(self, x):
        pool3 = self.to_pool3(x)
        pool4 = self.to_pool4(pool3)
        fc7 = self.relu(self.fc7(self.relu(self.fc6(self.to_pool5(pool4)))))
        y = self.upscore2(self.score_fr(fc7))
        y = self.upscore_pool4(y + crop(self.score_pool4(pool4), 5, y))
        y = self.upscore8(y + crop(self.score_pool3(pool3), 9, y))
        return crop(y, 31, x)


def stages(channels, widths):
    """VGG16's stages (number, channels, convolutions), each with its pooling."""
    net = nn.Sequential()
    for stage, width, count in widths:
        for i in range(1, count + 1):
            name = f'{stage}_{i}'
            net.add_module(f'conv{name}', nn.Conv2d(channels, width, 3,
                                                    padding=100 if name == '1_1' else 1))
            net.add_module(f'relu{name}', nn.ReLU(inplace=True))
            channels = width
        net.add_module(f'pool{stage}', nn.MaxPool2d(2, 2, ceil_mode=True))
    return net


def crop(x, offset, like):
    height, width = like.shape[2:]
    return x[:, :, offset:offset + height, offset:offset + width]
