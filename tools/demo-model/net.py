# SPDX-License-Identifier: Apache-2.0
"""The detector: a small anchor-free network with strides 8, 16 and 32, and its loss."""
import torch
import torch.nn.functional as F
from torch import nn

STRIDES = (8, 16, 32)


class Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, cin, cout, k=1, s=1, groups=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, s, k // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=1e-3, momentum=0.05)
        self.act = nn.SiLU(inplace=True) if act else nn.Identity()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))

    def fold(self):
        """Fold the batch norm into the convolution."""
        c, b = self.conv, self.bn
        gain = b.weight / torch.sqrt(b.running_var + b.eps)
        new = nn.Conv2d(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, groups=c.groups)
        new.weight.data = c.weight * gain[:, None, None, None]
        new.bias.data = b.bias - b.running_mean * gain
        self.conv, self.bn = new, nn.Identity()


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = Conv(c, c, 3), Conv(c, c, 3)

    def forward(self, x):
        return x + self.b(self.a(x))


class Stage(nn.Module):
    """A cross-stage-partial block: one half goes through n residual blocks, the other passes by."""

    def __init__(self, cin, cout, n):
        super().__init__()
        self.left, self.right = Conv(cin, cout // 2), Conv(cin, cout // 2)
        self.blocks = nn.Sequential(*[Residual(cout // 2) for _ in range(n)])
        self.out = Conv(cout, cout)

    def forward(self, x):
        return self.out(torch.cat([self.blocks(self.left(x)), self.right(x)], 1))


class Pyramid(nn.Module):
    """Three chained max pools, so that the deepest level sees the whole picture."""

    def __init__(self, c):
        super().__init__()
        self.inn, self.out = Conv(c, c // 2), Conv(c * 2, c)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        a = self.inn(x)
        b = self.pool(a)
        c = self.pool(b)
        return self.out(torch.cat([a, b, c, self.pool(c)], 1))


def tower(cin, c):
    """Two depthwise-separable convolutions."""
    return nn.Sequential(Conv(cin, cin, 3, groups=cin), Conv(cin, c), Conv(c, c, 3, groups=c), Conv(c, c))


class Detector(nn.Module):
    def __init__(self, nc, channels=(16, 24, 48, 80, 112), neck=64):
        super().__init__()
        c0, c1, c2, c3, c4 = channels
        self.nc = nc
        self.bf16 = False  # bfloat16 for the body, in training only
        self.register_buffer("anchors", None, persistent=False)  # see fix
        self.register_buffer("strides", None, persistent=False)
        self.stem = nn.Sequential(Conv(3, c0, 3, 2), Conv(c0, c1, 3, 2), Stage(c1, c1, 1))
        self.p3 = nn.Sequential(Conv(c1, c2, 3, 2), Stage(c2, c2, 2))
        self.p4 = nn.Sequential(Conv(c2, c3, 3, 2), Stage(c3, c3, 2))
        self.p5 = nn.Sequential(Conv(c3, c4, 3, 2), Stage(c4, c4, 1), Pyramid(c4))
        self.side5, self.side4, self.side3 = Conv(c4, neck), Conv(c3, neck), Conv(c2, neck)
        self.up4, self.up3 = Stage(2 * neck, neck, 1), Stage(2 * neck, neck, 1)
        self.down4, self.down5 = Conv(neck, neck, 3, 2, neck), Conv(neck, neck, 3, 2, neck)
        self.mix4, self.mix5 = Stage(2 * neck, neck, 1), Stage(2 * neck, neck, 1)
        self.box_tower = nn.ModuleList(tower(neck, neck) for _ in STRIDES)
        self.cls_tower = nn.ModuleList(tower(neck, neck) for _ in STRIDES)
        self.box = nn.ModuleList(nn.Conv2d(neck, 4, 1) for _ in STRIDES)
        self.cls = nn.ModuleList(nn.Conv2d(neck, nc, 1) for _ in STRIDES)
        for b, c in zip(self.box, self.cls):
            nn.init.constant_(b.bias, 1.5)
            nn.init.constant_(c.bias, -4.6)

    def features(self, x):
        p3 = self.p3(self.stem(x))
        p4 = self.p4(p3)
        f5 = self.side5(self.p5(p4))
        f4 = self.up4(torch.cat([F.interpolate(f5, scale_factor=2.0, mode="nearest"), self.side4(p4)], 1))
        f3 = self.up3(torch.cat([F.interpolate(f4, scale_factor=2.0, mode="nearest"), self.side3(p3)], 1))
        f4 = self.mix4(torch.cat([self.down4(f3), f4], 1))
        f5 = self.mix5(torch.cat([self.down5(f4), f5], 1))
        return f3, f4, f5

    def forward(self, x):
        """Corners [B, A, 4] in input pixels, class logits [B, A, nc], anchors [A, 2], strides [A, 1]."""
        if self.bf16 and self.training:
            with torch.autocast("cpu", torch.bfloat16):
                features = [f.float() for f in self.features(x)]
        else:
            features = self.features(x)
        dist = [F.softplus(self.box[i](self.box_tower[i](f))).flatten(2) for i, f in enumerate(features)]
        logits = [self.cls[i](self.cls_tower[i](f)).flatten(2) for i, f in enumerate(features)]
        dist, logits = torch.cat(dist, 2).transpose(1, 2), torch.cat(logits, 2).transpose(1, 2)
        anchors, strides = (self.grid(features) if self.anchors is None else (self.anchors, self.strides))
        dist = dist * strides  # left, top, right, bottom
        return torch.cat([anchors - dist[..., :2], anchors + dist[..., 2:]], -1), logits, anchors, strides

    @staticmethod
    def grid(features):
        """The anchors: the centres of the cells, stride 8 first, row by row."""
        anchors, strides = [], []
        for f, stride in zip(features, STRIDES):
            h, w = f.shape[2], f.shape[3]
            y = (torch.arange(h).to(f.dtype) + 0.5)[:, None].expand(h, w)
            x = (torch.arange(w).to(f.dtype) + 0.5)[None, :].expand(h, w)
            anchors.append(torch.stack([x, y], -1).reshape(-1, 2) * stride)
            strides.append(torch.ones_like(anchors[-1][:, :1]) * stride)
        return torch.cat(anchors), torch.cat(strides)

    def fix(self, size):
        """Settle on one input size, so that the anchors are constants."""
        self.anchors, self.strides = self.grid([torch.empty(1, 1, size // s, size // s) for s in STRIDES])
        return self

    def fold(self):
        for m in self.modules():
            if isinstance(m, Conv):
                m.fold()
        return self


# ---------------------------------------------------------------- loss

def iou(a, b, complete=False, eps=1e-7):
    """IoU, or complete IoU, of boxes given by their corners (broadcast)."""
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    inter = (torch.min(ax2, bx2) - torch.max(ax1, bx1)).clamp(0) * (torch.min(ay2, by2) - torch.max(ay1, by1)).clamp(0)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1
    v = inter / (aw * ah + bw * bh - inter + eps)
    if not complete:
        return v
    cw, ch = torch.max(ax2, bx2) - torch.min(ax1, bx1), torch.max(ay2, by2) - torch.min(ay1, by1)
    far = cw ** 2 + ch ** 2 + eps
    near = ((ax1 + ax2 - bx1 - bx2) ** 2 + (ay1 + ay2 - by1 - by2) ** 2) / 4
    shape = (4 / torch.pi ** 2) * (torch.atan(bw / (bh + eps)) - torch.atan(aw / (ah + eps))) ** 2
    with torch.no_grad():
        alpha = shape / (shape - v + 1 + eps)
    return v - near / far - alpha * shape


@torch.no_grad()
def assign(boxes, scores, anchors, gt_cls, gt_box, valid, topk=9):
    """Which anchor answers for which object (after TOOD, arXiv 2108.07755).

    For each object, of the anchors inside its box, the topk for which score^0.5 * IoU^6 is greatest.
    Returns for each anchor its object [B, A], whether it has one [B, A], and its soft target [B, A].
    """
    n = gt_box.shape[1]
    centre, half = (gt_box[..., :2] + gt_box[..., 2:]) / 2, (gt_box[..., 2:] - gt_box[..., :2]) / 2
    half = half.clamp(min=STRIDES[0] / 2 + 0.5)  # even the smallest object holds one anchor
    inside = ((anchors[None, None] - centre[:, :, None]).abs() < half[:, :, None]).all(-1) & valid[..., None]
    overlap = iou(gt_box[:, :, None], boxes[:, None]).clamp(0) * inside
    score = scores.transpose(1, 2).gather(1, gt_cls[..., None].expand(-1, -1, scores.shape[1]))
    metric = score.sqrt() * overlap ** 6 * inside + 1e-12 * inside
    top = metric.topk(topk, dim=2).indices
    chosen = torch.zeros_like(inside).scatter_(2, top, True) & inside
    best = F.one_hot((overlap + chosen * 2.0).argmax(1), n).transpose(1, 2).bool()
    chosen = chosen & best  # an anchor wanted by two objects goes to the one it covers better
    metric, overlap = metric * chosen, overlap * chosen
    target = metric / (metric.amax(2, keepdim=True) + 1e-12) * overlap.amax(2, keepdim=True)
    owner = chosen.int().argmax(1)
    return owner, chosen.any(1), target.amax(1)


def loss(out, gt_cls, gt_box, valid):
    boxes, logits, anchors, _ = out
    owner, positive, soft = assign(boxes.detach(), logits.detach().sigmoid(), anchors, gt_cls, gt_box, valid)
    cls = gt_cls.gather(1, owner)
    target = F.one_hot(cls, logits.shape[-1]) * (soft * positive)[..., None]
    total = target.sum().clamp(min=1)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.detach().sigmoid()
    weight = torch.where(target > 0, torch.ones_like(p), 0.25 + 0.75 * p)  # easy background counts less
    cls_loss = (bce * weight).sum() / total
    want = gt_box.gather(1, owner[..., None].expand(-1, -1, 4))[positive]
    box_loss = ((1 - iou(boxes[positive], want, complete=True)) * soft[positive]).sum() / total
    return cls_loss + 4.0 * box_loss, cls_loss.detach(), box_loss.detach()
