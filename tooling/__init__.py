"""What the sessions of the noxfile are made of: the checkout, its native wheel, real servers, archives."""
