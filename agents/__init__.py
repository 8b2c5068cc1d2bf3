"""What chooses: query networks, the batch-mode double DQN, its training, Stable-Baselines3 agents, acquisitions.

Import each from its module. `query_policy` loads and plays a policy and needs torch; `training` trains and needs
TensorBoard besides; `tianshou_adapter` imports tianshou and `sb3` Stable-Baselines3, which takes seconds.
"""

if __name__ != "ralseg.agents":
    raise ImportError("import ralseg.agents: under the name agents every class would exist a second time")
