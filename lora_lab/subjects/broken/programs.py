"""The correct programs of the gallery, as texts. Each mistake changes one line of one of them.

A program attaches a hand-written LoRA layer to both weights of the base, trains, and ships the model in its own way.
"""

LAYER = '''
class LoRA(nn.Module):
    def __init__(self, base, r, alpha, rslora):
        super().__init__()
        self.base, self.r, self.alpha, self.merged = base, r, alpha, False
        self.in_features, self.out_features = base.in_features, base.out_features
        self.scaling = alpha / (r**0.5 if rslora else r)
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    @property
    def weight(self):
        return self.base.weight

    def forward(self, x):
        if self.merged:  # then the base holds the update
            return self.base(x)
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)

    def delta(self):
        return self.scaling * (self.lora_B @ self.lora_A)

    @torch.no_grad()
    def merge(self):
        if self.merged:  # once is enough
            return
        self.base.weight.add_(self.delta())
        self.merged = True

    @torch.no_grad()
    def unmerge(self):
        self.base.weight.sub_(self.delta())
        self.merged = False


def inject(model, r=3, alpha=6, rslora=False):
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if name.endswith("fc"):
            parent = model.get_submodule(name.rpartition(".")[0])
            parent.fc = LoRA(layer, r, alpha, rslora)
    return model


def each(model, what):
    for block in model.blocks:
        if isinstance(block.fc, LoRA):
            getattr(block.fc, what)()
'''

TRAIN = '''
base = new_base()
X, y = new_task(base)
dtype = torch.float32
model = inject(copy.deepcopy(base)).to(dtype)
trainable = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.Adam(trainable, lr=0.04)
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
for step in range(steps):
    loss = F.mse_loss(model(X.to(dtype)).float(), y)
    losses.append(loss.item())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
'''

SHIP = '''
adapter = {k: v.clone() for k, v in model.state_dict().items() if "lora_" in k}
shipped = inject(copy.deepcopy(base))
shipped.load_state_dict(adapter, strict=False)
each(shipped, "merge")  # to test it
each(shipped, "merge")  # and again before the export: the second call must not matter
'''

SERVE = '''
shipped = copy.deepcopy(model)
shipped.eval()
'''

CHECKPOINT = '''
each(model, "merge")  # to look at the merged model
each(model, "unmerge")
checkpoint = copy.deepcopy(model.state_dict())
shipped = inject(copy.deepcopy(base))
shipped.load_state_dict(checkpoint)
'''

FOLDER = '''
adapter = {k: v.clone() for k, v in model.state_dict().items() if "lora_" in k}
save_file(adapter, folder / "adapter_model.safetensors")
config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "use_rslora": True}
(folder / "adapter_config.json").write_text(json.dumps(config))
shipped = inject(copy.deepcopy(base), config["r"], config["lora_alpha"], config["use_rslora"])
shipped.load_state_dict(load_file(folder / "adapter_model.safetensors"), strict=False)
'''


def replaced(text: str, piece: str, other: str) -> str:
    """`text` with its one `piece` replaced. Raises ValueError if there is not exactly one."""
    if text.count(piece) != 1:
        raise ValueError(f"the program has {text.count(piece)} pieces {piece!r}; exactly one is to be replaced.")
    return text.replace(piece, other)


UPDATE = "return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)"
WITH_DROPOUT = UPDATE.replace("(x @", "(F.dropout(x, 0.1, self.training) @")
INJECT = "model = inject(copy.deepcopy(base)).to(dtype)"
TIED = """\
base = new_base(tied=True)
base.blocks[1].fc.weight = nn.Parameter(base.blocks[1].fc.weight.clone())"""
PROGRAMS = {
    "shipped": LAYER + TRAIN + SHIP,  # trained, the adapter alone saved, loaded into the base, merged
    "dropout": replaced(LAYER, UPDATE, WITH_DROPOUT) + TRAIN + SERVE,  # served unmerged
    "checkpoint": LAYER + TRAIN + CHECKPOINT,  # the whole state is saved
    "rslora": LAYER + replaced(TRAIN, INJECT, INJECT.replace("base))", "base), rslora=True)")) + FOLDER,
    "tied": LAYER + replaced(TRAIN, "base = new_base()", TIED) + SHIP,
}
